# page.awk: the files of the status page as strings for C, one after another.
FNR == 1 {
    if (NR > 1) print "    ;"
    name = FILENAME; sub(/.*\//, "", name); sub(/\./, "_", name)
    print "static const char " name "[] ="
}
# By hand: what backslashes in a replacement mean, each awk says for itself (Debian 13's is not Debian 12's).
{
    line = ""
    for (i = 1; i <= length($0); i++) { c = substr($0, i, 1); line = line (c == "\\" || c == "\"" ? "\\" : "") c }
    print "    \"" line "\\n\""
}
END { print "    ;" }
