# page.awk: the files of the status page as strings for C, one after another.
FNR == 1 {
    if (NR > 1) print "    ;"
    name = FILENAME; sub(/.*\//, "", name); sub(/\./, "_", name)
    print "static const char " name "[] ="
}
# In a replacement four backslashes are one.
{ gsub(/\\/, "\\\\\\\\"); gsub(/"/, "\\\\\""); print "    \"" $0 "\\n\"" }
END { print "    ;" }
