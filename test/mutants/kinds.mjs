// kinds.mjs: the small changes that are made to a line, by language.

const swap = (name, pattern, to) => ({ name, pattern, to });

// Operators are matched with what must not stand beside them, so that "->" or "<<" is no comparison.
const COMMON = [
  swap("plus one", / \+ 1\b(?!\.)/g, ""),
  swap("minus one", / - 1\b(?!\.)/g, ""),
  swap("true", /\btrue\b/g, "false"),
  swap("false", /\bfalse\b/g, "true"),
];
const C_LIKE = [
  ...COMMON,
  swap("<", /(?<![<=-])<(?![<=])(?= )/g, "<="),
  swap("<=", /<=(?= )/g, "<"),
  swap(">", /(?<= )>(?![>=])/g, ">="),
  swap(">=", /(?<= )>=/g, ">"),
  swap("==", /(?<![=!])==(?!=)/g, "!="),
  swap("!=", /!=(?!=)/g, "=="),
  swap("&&", /&&/g, "||"),
  swap("||", /\|\|/g, "&&"),
  swap("+=", /\+=/g, "-="),
  swap("-=", /-=/g, "+="),
];
const LANGUAGES = {
  c: {
    kinds: C_LIKE,
    // a call or an assignment that is a statement of its own
    statement: /^\s+(?!return\b|goto\b|case\b|else\b|static\b|const\b|struct\b|enum\b|union\b)(?:\(void\))?[A-Za-z_][\w>.\-[\]]*(?:\(.*\)| (?:=|\+=|-=|\|=) [^{]*)?(?:\+\+)?;$/,
    without: ";",
    // what a dropped one does is seen by the sanitizers (make check SAN=address, SAN=thread), not by a test
    kept: /^\s+(?:\w+_)?(?:free|free_all|decref|cleanup|mutex_lock|mutex_unlock|mutex_destroy|cond_destroy|bzero)\(/,
    skip: /\bPRE\(|^\s*\(void\)\w+;$|^\s*va_end\(|log_event\(|log_quote\(|^\s*(?:#|\/\/|\/\*|\*)|fault_say|static_assert/,
  },
  erl: {
    kinds: [...COMMON, swap("=<", /=</g, "<"), swap("<", /(?<= )<(?![<=-])(?= )/g, "=<"), swap(">=", />=/g, ">"), swap(">", /(?<= )>(?![>=])(?= )/g, ">="),
      swap("=:=", /=:=/g, "=/="), swap("=/=", /=\/=/g, "=:="), swap("andalso", /\bandalso\b/g, "orelse"), swap("orelse", /\borelse\b/g, "andalso")],
    statement: /^\s+[a-z][\w:]*\(.*\),$/,
    without: "ok,",
    skip: /^\s*(?:%|-)|\?LOG|logger:/,
  },
  ex: {
    kinds: [...COMMON, swap("==", /(?<![=!])==(?!=)/g, "!="), swap("!=", /!=(?!=)/g, "=="), swap("<", /(?<= )<(?![<=>-])(?= )/g, "<="), swap(">", /(?<= )>(?![>=])(?= )/g, ">="),
      swap("<=", /<=(?= )/g, "<"), swap(">=", /(?<= )>=/g, ">"), swap("and", / and /g, " or "), swap("or", / or /g, " and "), swap("&&", /&&/g, "||"), swap("||", /\|\|/g, "&&")],
    statement: /^\s+[a-zA-Z][\w.]*[!?]?\(.*\)$/,
    without: ":ok",
    skip: /^\s*(?:#|@|use |import |alias |defmodule|def |defp |optional\()|Logger\./,
  },
  ts: { kinds: [...C_LIKE, swap("===", /===/g, "!=="), swap("!==", /!==/g, "===")], statement: /^\s+(?:await )?[a-zA-Z][\w.]*\(.*\);$/, without: ";", skip: /^\s*(?:\/\/|\/\*|\*|import |export type)/ },
};

// The parts of a line that are code, as a mask: strings, characters and comments are not.
function codeMask(line, language, state) {
  const mask = new Array(line.length).fill(true);
  let quote = null;
  for (let i = 0; i < line.length; i++) {
    if (state.block) {
      mask[i] = false;
      if (line.startsWith("*/", i)) { mask[++i] = false; state.block = false; }
    } else if (state.heredoc) {
      mask[i] = false;
    } else if (quote) {
      mask[i] = false;
      if (line[i] === "\\") mask[++i] = false;
      else if (line[i] === quote) quote = null;
    } else if (language !== "erl" && language !== "ex" && line.startsWith("/*", i)) {
      state.block = true;
      mask[i] = false;
    } else if (language === "erl" && (state.type || line.startsWith(" :: ", i))) {
      mask.fill(false, i); // a type, which the typechecker alone reads
      break;
    } else if ((language === "c" || language === "ts") && line.startsWith("//", i) || (language === "erl" && line[i] === "%") || (language === "ex" && line[i] === "#")) {
      mask.fill(false, i);
      break;
    } else if (line[i] === '"' || (line[i] === "'" && language !== "erl") || (line[i] === "`" && language === "ts")) {
      quote = line[i];
      mask[i] = false;
    }
  }
  return mask;
}

// sitesOf(file, text): [{line, was, text, kind}]: every changed line that could stand in a line's place.
export function sitesOf(file, text) {
  const language = file.split(".").pop();
  const { kinds, statement, without, kept, skip } = LANGUAGES[language];
  const state = { block: false, heredoc: false, type: false };
  const found = [];
  text.split("\n").forEach((line, number) => {
    const quotes = language === "ex" ? line.split('"""').length - 1 : 0;
    if (language === "erl" && /^-(?:type|opaque|spec|callback)\b/.test(line)) state.type = true;
    const mask = codeMask(line, language, state);
    if (/\.\s*(?:%.*)?$/.test(line)) state.type = false;
    if (quotes === 1) state.heredoc = !state.heredoc;
    if (state.heredoc || quotes > 0 || skip.test(line)) return;
    const add = (kind, changed) => found.push({ line: number, was: line, text: changed, kind });
    for (const { name, pattern, to } of kinds)
      for (const match of line.matchAll(pattern)) {
        const at = match.index;
        if (mask.slice(at, at + match[0].length).every(Boolean)) add(name, line.slice(0, at) + to + line.slice(at + match[0].length));
      }
    if (statement.test(line) && !kept?.test(line)) add("dropped", line.match(/^\s*/)[0] + without);
    const condition = language === "c" && line.match(/^(\s*(?:\} else )?if \()([^()&|=<>!]*(?:\([^()]*\))?)(\)(?: \{)?)$/);
    if (condition) add("not", `${condition[1]}!(${condition[2]})${condition[3]}`);
  });
  return found;
}
