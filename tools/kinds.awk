# kinds.awk: priv/kinds.ini for C (-v to=c: the rows of built_in in c_src/projection/kinds.c) and for
# TypeScript (-v to=ts: priv/convex/kinds.ts).  An invalid line is an error.
function fail(why) { print FILENAME ":" FNR ": " why >"/dev/stderr"; failed = 1; exit 1 }
# The validator of the kind's document, "runSummary" of run_summary.
function document(fields,    n, i, words, name, names) {
    n = split(kind, names, "_")
    name = names[1]
    for (i = 2; i <= n; i++) name = name toupper(substr(names[i], 1, 1)) substr(names[i], 2)
    print "export const " name " = documentOf(" toupper(kind) ", \"" id_field "\", {"
    n = split(fields, words, " ")
    for (i = 1; i <= n; i++)
        if (sub(/:map$/, "", words[i])) print "  " words[i] ": map,"
        else print "  " words[i] ": " (words[i] == "owner_user_id" ? "userId" : "text") ","
    print "});"
}
BEGIN {
    if (to == "ts") {
        print "// Written by `make kinds` from priv/kinds.ini: change that, then run it again."
        print "// The runtime's own kinds; a kind of your own needs no line here (docs/CONVEX.md)."
        print "import { documentOf, map, text, userId } from \"./documents.js\";"
    }
}
/^[ \t]*(;|$)/ { next }
/["\\]/ { fail("a value has no \" and no \\") }
/^\[kind\.[A-Za-z_][A-Za-z0-9_]*\]$/ {
    kind = substr($0, 7, length($0) - 7)
    if (to == "ts") print "\nexport const " toupper(kind) " = \"" kind "\";"
    next
}
/^(prefix|entity|id_field|mutation|fields|min_interval_ms) = ./ && kind != "" {
    value = $0; sub(/^[a-z_]+ = /, "", value)
    if (to == "c") print "{\"" kind "\", \"" $1 "\", \"" value "\"},"
    if ($1 == "id_field") id_field = value
    if (to == "ts" && $1 == "fields") document(value)
    next
}
{ fail("neither [kind.NAME] nor \"prefix = ...\", entity, id_field, mutation, fields or min_interval_ms") }
END { exit failed }
