# page.awk: prints the files of the status page as C strings, one after another.
FNR == 1 {
    if (NR > 1) print "    ;"
    name = FILENAME; sub(/.*\//, "", name); sub(/\./, "_", name)
    print "static const char " name "[] ="
}
# Not with gsub: the meaning of backslashes in a replacement differs between awks (Debian 12's and 13's).
{
    line = ""
    for (i = 1; i <= length($0); i++) { c = substr($0, i, 1); line = line (c == "\\" || c == "\"" ? "\\" : "") c }
    print "    \"" line "\\n\""
}
END { print "    ;" }
