# kinds.awk: priv/kinds.ini for C (-v to=c: the rows of built_in in c_src/projection/kinds.c) and for
# TypeScript (-v to=ts: priv/convex/kinds.ts).  A line it does not understand ends it.
function fail(why) { print FILENAME ":" FNR ": " why >"/dev/stderr"; failed = 1; exit 1 }
BEGIN {
    if (to == "ts") {
        print "// Written by `make kinds` from priv/kinds.ini: change that, then run it again."
        print "// The runtime's own kinds; a kind of your own needs no line here (docs/CONVEX.md)."
    }
}
/^[ \t]*(;|$)/ { next }
/["\\]/ { fail("a value has no \" and no \\") }
/^\[kind\.[A-Za-z_][A-Za-z0-9_]*\]$/ {
    kind = substr($0, 7, length($0) - 7)
    if (to == "ts") print "export const " toupper(kind) " = \"" kind "\";"
    next
}
/^(prefix|entity|id_field|mutation|fields) = ./ && kind != "" {
    value = $0; sub(/^[a-z_]+ = /, "", value)
    if (to == "c") print "{\"" kind "\", \"" $1 "\", \"" value "\"},"
    next
}
{ fail("neither [kind.NAME] nor \"prefix = ...\", entity, id_field, mutation or fields") }
END { exit failed }
