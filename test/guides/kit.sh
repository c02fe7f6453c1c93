# What the scripts of the guides share; they are run by test/guides/run, in /srv.
set -u
unset MIX_ENV MIX_TARGET ERL_FLAGS ERL_LIBS ERL_EPMD_PORT
export HOME=/srv/home LANG=C.UTF-8 ERL_CRASH_DUMP_SECONDS=0
PAGE= guide=$(basename "$0") said=${WORK:-}/said
trap end EXIT
# Scripts remove what they made in /srv and /var/lib: only where these are of a namespace of our own.
{ [ -n "${WORK:-}" ] && mountpoint -q /srv && mountpoint -q /var/lib; } || { trap - EXIT; echo "test/guides/run $guide"; exit 2; }

# ---- the page

# page FILE: the page that is followed from here on.  Each of its blocks has to be run.
page() { all_used; PAGE=$1; : >"$WORK/used"; }
# block NAME [PAGE]: print it.
block() {
    local page=${2:-$PAGE}
    "$HERE/test/guides/block" "$HERE/$page" "$1" >"$WORK/block" || return 1
    [ "$page" != "$PAGE" ] || head -1 "$WORK/block" | sed -E 's,^(#|//|%%|--) ,,' >>"$WORK/used"
    cat "$WORK/block"
}
# follow NAME [PAGE]: run it, a shell's.
follow() { block "$@" >"$WORK/follow" && sh -eu "$WORK/follow"; }
# write NAME FILE [PAGE]: it is that file.
write() { mkdir -p "$(dirname "$2")" && block "$1" "${3:-$PAGE}" >"$2"; }
# insert NAME FILE LINE [PAGE]: it goes into the file, after the line that has this text.
insert() {
    grep -qF -- "$3" "$2" || { echo "$2 has no line \"$3\""; return 1; }
    block "$1" "${4:-$PAGE}" | grep -v '^# ' >"$WORK/insert" && sed -i "\\|$3|r $WORK/insert" "$2"
}
all_used() {
    [ -n "${PAGE:-}" ] || return 0
    local left
    left=$("$HERE/test/guides/block" "$HERE/$PAGE" 2>&1 | grep -vxFf "$WORK/used")
    [ -z "$left" ] && tell passed "every block of $PAGE was run" || tell failed "every block of $PAGE was run" "$left"
}

# ---- what is checked

tell() {
    echo "$1 $guide: $2" >>"$WORK/results"
    if [ "$1" = passed ]; then echo "  ok      $2"; else echo "  FAILED  $2"; shift 2; printf '%s\n' "$@" | tail -n 40 | sed 's/^/          /'; fi
}
# check NAME COMMAND...: it ends with 0.  What it said is in $said, until the next one.
# check NAME of COMMAND...: about what the last one said.
check() {
    local name=$1 out=$said; shift
    [ "$1" != of ] || { out=$WORK/now; shift; }
    if "$@" >"$out" 2>&1; then tell passed "$name"; else tell failed "$name" "$(cat "$out")"; return 1; fi
}
# must NAME COMMAND...: as check; without it the rest makes no sense.
must() { check "$@" || exit 1; }
# said TEXT...: all of these.
said() { local t; for t; do grep -qF -- "$t" "$said" || { echo "\"$t\" was not said:"; cat "$said"; return 1; }; done; }
# times N TEXT: so many lines have it.
times() { [ "$(grep -cF -- "$2" "$said")" = "$1" ] || { echo "not $1 times \"$2\":"; cat "$said"; return 1; }; }
# soon COMMAND...: it ends with 0 within a minute.
soon() { local until=$((SECONDS + 60)); until "$@" 2>&1; do [ $SECONDS -lt $until ] || return 1; sleep 0.2; done; }
end() { local status=$?; [ $status != 0 ] || all_used; stop_all; epmd -kill >/dev/null 2>&1; rm -rf --one-file-system "$HERE/test/convex/${STANDIN_BUILD:-.build/none}"; exit $status; }

# ---- what runs meanwhile

pids=()
stop_all() { local p; for p in "${pids[@]}"; do kill "$p" 2>/dev/null; wait "$p" 2>/dev/null; done; pids=(); }
# A Convex on the address that the pages use; its key is in CONVEX_ADMIN_KEY.
standin() {
    export STANDIN_STATE=$WORK/standin STANDIN_BUILD=.build/guides.$$
    mkdir -p "$STANDIN_STATE"
    PORT=3210 node "$HERE/test/convex/server.mjs" >"$STANDIN_STATE/out" 2>&1 &
    pids+=($!)
    soon grep -q ^READY "$STANDIN_STATE/out" || { cat "$STANDIN_STATE/out"; return 1; }
    CONVEX_ADMIN_KEY=$(sed -n 's/.*"admin_key": *"\([^"]*\)".*/\1/p' "$STANDIN_STATE/ready.json")
    export CONVEX_ADMIN_KEY
}
# in_convex ID TEXT: the document stands there and has this text.
in_convex() { (cd "$HERE/test/convex" && node read.mjs) | grep -F "$1" | grep -qF -- "$2"; }

# ---- the application

# The library beside the application: the tracked files alone.  Only Installation compiles its C program anew.
library() {
    [ -d /srv/convex-sidecar ] || { mkdir /srv/convex-sidecar &&
        (cd "$HERE" && git ls-files -z --cached --others --exclude-standard | tar --null --ignore-failed-read -T - -cf - 2>/dev/null) | tar -C /srv/convex-sidecar -xf -; }
    [ "${1:-}" = source ] || { export SIDECAR_PREBUILT=1; cp -n "$HERE/priv/convex_sidecar" /srv/convex-sidecar/priv/; }
}
# app_files: those of Installation, in an application that `mix new` has made.
app_files() {
    local page=docs/guides/installation.md file
    insert "mix.exs" mix.exs "{:dep_from_hexpm" $page && insert "lib/my_app/application.ex" lib/my_app/application.ex "{MyApp.Worker, arg}" $page &&
        for file in lib/my_app/runs.ex config/runtime.exs test/my_app_test.exs; do write $file $file $page || return; done
    write "lib/my_app/event_log.ex" lib/my_app/event_log.ex $page
}
# The application that Installation ends with; this shell is in it.
installed_app() {
    library && rm -rf --one-file-system /srv/my_app && cd /srv && follow "a new application" docs/guides/installation.md && cd my_app && app_files
}

# ---- a PostgreSQL, and an application over it

# postgres N: one with the runtime's tables and N runs of three events.
postgres() {
    MIX_ENV=test elixir -r "$HERE/test/support/postgres.ex" "$HERE/test/guides/postgres/server.exs" /srv/pg "$1" >"$WORK/pg.log" 2>&1 &
    pids+=($!)
    soon test -e /srv/pg.port || { cat "$WORK/pg.log"; return 1; }
    MY_APP_PG_PORT=$(cat /srv/pg.port)
    export MY_APP_PG_PORT
}
# repo: the application in this folder gets a Repo, and appends in its transactions; README says what is after the commit.
repo() {
    cp "$HERE/test/support/postgres.ex" "$HERE/test/guides/postgres"/{repo,runs}.ex lib/
    block "after the commit of an append" README.md >"$WORK/insert" && sed -i "/# AFTER THE COMMIT/r $WORK/insert" lib/runs.ex
    sed -i 's/extra_applications: \[:logger/&, :p1_pgsql/' mix.exs
    sed -i '/{MyApp.Worker, arg}/a MyApp.Repo,' lib/my_app/application.ex
}

# ---- an image that runs

image=$HERE/test/guides/image last=/srv/image/last
in_image() { "$image" run $last "$1"; }
# from_page NAME [PAGE]: as follow, in the image.
from_page() { block "$@" >"$WORK/follow" && in_image "$(cat "$WORK/follow")"; }
# start_image: what its CMD says, with the variables of IMAGE_ENV.
start_image() { "$image" run $last "exec $("$image" cmd $last)" >"$WORK/app.log" 2>&1 & pids+=($!); }
well() { from_page "is it well?" docs/guides/releases.md | grep -x :ok; }

# ---- what pages quote

# quoted HEADING [N]: the Nth fence without a language in the section that begins so.
quoted() {
    awk -v heading="$1" -v wanted="${2:-1}" '
        /^```/ && !fence { fence = 1; plain = $0 == "```"; if (inside && plain) n++; next }
        /^```/ { fence = 0; next }
        /^## / && !fence { inside = index($0, heading) == 4 }
        inside && fence && plain && n == wanted { print; some = 1 }
        END { exit !some }' "$HERE/$PAGE"
}
# as_quoted HEADING [N]: what the last command said has each of these lines, or a longer one.
as_quoted() { local line; quoted "$@" >"$WORK/quoted" || return; while IFS= read -r line; do said "$line" || return; done <"$WORK/quoted"; }
