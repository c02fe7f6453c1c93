%% convex_sidecar_config - the options of an instance: checked, completed, and
%% turned into the INI text that a managed sidecar reads from its standard input.
%%
%% options_table/0 is the one list of options: an option's check, default and description,
%% here, in the moduledoc of OpenAgentsRuntime.Convex.Sidecar and in docs/CLUSTER.md,
%% come from its row.
%%
%% Every fault is {error, {bad_option, Option, Sentence}}; the sentence says what is
%% valid.  Nothing here starts anything.  Secrets (admin key, cookie) never appear in
%% a message.  They are carried as funs, because supervisors print the options of a
%% child when it starts or crashes.
-module(convex_sidecar_config).

-export([options/1, name/1, markdown/0, ini/2, managed_node/1, distribution/0, distribution/4]).

-export_type([options/0, checked/0, sections/0, obstacle/0]).

%% Why this VM cannot connect to a sidecar.
-type obstacle() :: no_distribution | tls_distribution | no_epmd | short_names_over_ipv6 | other_distribution.

-type sections() ::
    [{atom() | binary() | string(), [{atom() | binary() | string(), value()}] | map()}] | map().
-type value() :: atom() | integer() | binary() | string().
%% The keys are those of options_table/0.
-type options() :: #{atom() => term()}.

-type checked() :: #{
    name := atom(),
    mode := managed | external,
    %% undefined while this VM has no distribution, so that a managed sidecar has no node name
    dest := {atom(), node() | undefined},
    port := undefined | inet:port_number(),
    program := file:name_all(),
    config := fun(() -> sections()),
    cookie := undefined | fun(() -> atom()),
    drain_ms := non_neg_integer(),
    start_ms := pos_integer(),
    backoff_min_ms := pos_integer(),
    backoff_max_ms := pos_integer(),
    dirty_limit := pos_integer(),
    hint_limit := pos_integer(),
    batch_limit := 1..10000,
    look_back_ms := non_neg_integer(),
    request_ms := pos_integer(),
    sweep := undefined | module(),
    changed := undefined | module()
}.

%% The mode an option is for; the other mode ignores it, or refuses it with a sentence.
-type for() :: any | managed | {managed | external, Refusal :: string()}.
-type type() :: atom | node | path | sections | cookie | {one_of, [atom()]} | {integer, integer(), integer()}.
-type default() ::
    {is, term()}
    | {by_mode, Managed :: term(), External :: term()}
    | {made, Words :: string(), fun((managed | external, options()) -> term())}.

-define(MAX_MS, 3600000).
-define(NAME, convex_sidecar).

-spec options_table() -> [{Name :: atom(), for(), type(), default(), Doc :: string()}].
options_table() ->
    Milliseconds = {integer, 1, ?MAX_MS},
    Entities = {integer, 1, 100000000},
    [
        {name, any, atom, {is, ?NAME}, "the name of the instance, which other functions take"},
        {mode, any, {one_of, [managed, external]}, {is, managed},
            "managed: start and own the program; external: connect to the node of one that runs"},
        {program, managed, path, {made, "`priv/convex_sidecar`", fun program/2}, "the program"},
        {config, {managed, "is for managed mode; an external sidecar has its own file"}, sections, {is, []},
            "sections of the sidecar's configuration, or a fun that returns them, so that they are not printed"},
        {store_dir, managed, path, {made, "`[store] dir`", fun none/2}, "the directory of the store"},
        {node, any, node, {made, "managed: `VM_convex@127.0.0.1`, after this VM; external: required", fun node/2},
            "the node of the sidecar"},
        {port, {external, "is told by the program in managed mode; [node] port is the one it is to have"},
            {integer, 1, 65535}, {made, "asked of epmd", fun none/2},
            "where that node listens, for a VM with `-epmd_module convex_sidecar_epmd`, which needs no epmd"},
        {registered_name, any, atom, {is, convex_sidecar}, "the name under which the sidecar is registered at its node"},
        {cookie, {external, "is made fresh in managed mode; leave it out"}, cookie,
            {made, "that of this VM", fun none/2}, "the cookie of the node, or a fun, so that it is not printed"},
        {drain_ms, managed, {integer, 0, 600000}, {is, 10000}, "how long an ending sidecar continues to deliver"},
        {start_ms, managed, Milliseconds, {is, 10000}, "longest time from start to the ready line; longer while a store is migrated"},
        %% Starting a program costs more than trying a connection.
        {backoff_min_ms, any, Milliseconds, {by_mode, 100, 50},
            "the first wait between starts, or between attempts to connect; it doubles"},
        {backoff_max_ms, any, Milliseconds, {by_mode, 5000, 2000}, "the longest such wait"},
        {dirty_limit, any, Entities, {is, 100000},
            "entities that the asynchronous form remembers before it looks at all of them instead"},
        {hint_limit, any, Entities, {is, 100000}, "entities whose last folded event is remembered"},
        {batch_limit, any, {integer, 1, 10000}, {is, 512}, "entities in one request of the asynchronous form"},
        {look_back_ms, any, {integer, 0, 86400000}, {is, 600000},
            "every tenth of it, the rows that changed within it are looked at, where the event log has `changed_since/3`; 0: never"},
        {request_ms, any, Milliseconds, {is, 10000}, "how long the asynchronous form waits for an answer"},
        {sweep, any, atom, {made, "none", fun none/2},
            "a module (behaviour `convex_sidecar_sweeper`) that names what to project once more after a deployment was "
            "wiped, restored or swapped; `OpenAgentsRuntime.Convex.Sidecar` has its own"},
        {changed, any, atom, {made, "none", fun none/2},
            "a module (behaviour `convex_sidecar_state`) that is told of each change of state; "
            "`OpenAgentsRuntime.Convex.Sidecar` makes telemetry of it"}
    ].

%% @doc The options as a Markdown table.
-spec markdown() -> binary().
markdown() ->
    Head = [["option", "mode", "value", "default", "what it is"], lists:duplicate(5, "---")],
    Rows = [
        [["`", atom_to_list(Name), "`"], for_text(For), type_text(Type), default_text(Default), Doc]
     || {Name, For, Type, Default, Doc} <- options_table()
    ],
    iolist_to_binary([["| ", lists:join(" | ", Row), " |\n"] || Row <- Head ++ Rows]).

for_text({Mode, _Refusal}) -> atom_to_list(Mode);
for_text(Mode) -> atom_to_list(Mode).

type_text(atom) -> "an atom";
type_text(node) -> "a full node name like 'convex_sidecar@127.0.0.1'";
type_text(path) -> "a path";
type_text(sections) -> "a list or map of sections";
type_text(cookie) -> "an atom, or a fun that gives one";
type_text({one_of, Choices}) -> lists:join(" or ", [atom_to_list(Choice) || Choice <- Choices]);
type_text({integer, Min, Max}) -> io_lib:format("an integer from ~b to ~b", [Min, Max]).

default_text({is, Value}) -> io_lib:format("`~tp`", [Value]);
default_text({by_mode, Managed, External}) -> io_lib:format("`~tp`; external: `~tp`", [Managed, External]);
default_text({made, Words, _Fun}) -> Words.

%% @doc The name of the instance with these options.
-spec name(options() | [{atom(), term()}]) -> term().
name(#{name := Name}) -> Name;
name(#{}) -> ?NAME;
name(Given) -> proplists:get_value(name, Given, ?NAME).

%% @doc Check the options of an instance and fill in the defaults.
-spec options(options() | [{atom(), term()}]) -> {ok, checked()} | {error, {bad_option, atom(), binary()}}.
options(Given) ->
    try
        {ok, complete(as_map(options, Given))}
    catch
        throw:{bad_option, _, _} = Bad -> {error, Bad}
    end.

complete(Given) ->
    Table = options_table(),
    _ = [bad(Key, "is no option of convex_sidecar") || Key <- maps:keys(Given), not lists:keymember(Key, 1, Table)],
    Mode = value(lists:keyfind(mode, 1, Table), managed, Given),
    Values = maps:from_list([{element(1, Row), value(Row, Mode, Given)} || Row <- Table]),
    #{registered_name := Registered, node := Node, config := Config, cookie := Cookie} = Values,
    (maps:without([registered_name, node, store_dir], Values))#{
        dest => {Registered, Node},
        config := config(Mode, Config, Given),
        cookie := as_fun(Cookie),
        backoff_max_ms := longest(Values, Given)
    }.

value({Name, For, Type, Default, _Doc}, Mode, Given) ->
    case {Given, For} of
        {#{Name := _}, {Only, Refusal}} when Only =/= Mode ->
            bad(Name, Refusal);
        {#{Name := Value}, _} ->
            is_type(Type, Value) orelse bad(Name, ["must be ", type_text(Type)]),
            Value;
        {#{}, _} ->
            default(Default, Mode, Given)
    end.

is_type(atom, Value) -> is_atom(Value) andalso Value =/= undefined andalso Value =/= nil;
is_type(node, Value) -> is_atom(Value) andalso is_full(string:split(atom_to_list(Value), "@"));
is_type(path, Value) -> (is_list(Value) andalso Value =/= []) orelse (is_binary(Value) andalso Value =/= <<>>);
is_type(sections, Value) -> is_list(Value) orelse is_map(Value) orelse is_function(Value, 0);
is_type(cookie, Value) -> is_atom(Value) orelse is_function(Value, 0);
is_type({one_of, Choices}, Value) -> lists:member(Value, Choices);
is_type({integer, Min, Max}, Value) -> is_integer(Value) andalso Value >= Min andalso Value =< Max.

is_full([[_ | _], [_ | _]]) -> true;
is_full(_) -> false.

default({is, Value}, _Mode, _Given) -> Value;
default({by_mode, Managed, _External}, managed, _Given) -> Managed;
default({by_mode, _Managed, External}, external, _Given) -> External;
default({made, _Words, Fun}, Mode, Given) -> Fun(Mode, Given).

none(_Mode, _Given) -> undefined.

program(_Mode, _Given) ->
    case code:priv_dir(convex_sidecar) of
        {error, bad_name} -> filename:join(["priv", "convex_sidecar"]);
        Dir -> filename:join(Dir, "convex_sidecar")
    end.

node(external, _Given) ->
    bad(node, "must be given when mode is external: the node name of the running sidecar");
node(managed, Given) ->
    case is_alive() of
        true -> managed_node(name(Given));
        false -> undefined
    end.

%% Raising only the shortest wait raises the longest with it.
longest(#{backoff_min_ms := Min, backoff_max_ms := Max}, Given) ->
    case is_map_key(backoff_max_ms, Given) of
        true when Max < Min -> bad(backoff_max_ms, "must not be less than backoff_min_ms");
        true -> Max;
        false -> max(Min, Max)
    end.

as_fun(undefined) -> undefined;
as_fun(Fun) when is_function(Fun) -> Fun;
as_fun(Value) -> fun() -> Value end.

%% @doc The default node name of a managed sidecar; for a VM with distribution.
-spec managed_node(atom()) -> node().
managed_node(Name) ->
    [Alive | _] = string:split(atom_to_list(node()), "@"),
    list_to_atom(Alive ++ "_" ++ own_part(Name) ++ "@" ++ host(net_kernel:longnames(), protocol())).

%% The sidecar listens on 127.0.0.1; a VM with IPv6 distribution reaches it by the mapped address.
host(false, _Protocol) -> "localhost";
host(_Long, "inet6_tcp") -> "::ffff:127.0.0.1";
host(_Long, _Protocol) -> "127.0.0.1".

own_part(convex_sidecar) -> "convex";
own_part(Name) -> atom_to_list(Name).

%% @doc Whether this VM can connect to a sidecar; if not, why, and what to do, for the log and for health/1.
-spec distribution() -> ok | {obstacle(), binary()}.
distribution() ->
    distribution(is_alive(), protocol(), net_kernel:longnames(), has_one_port()).

has_one_port() -> init:get_argument(erl_epmd_port) =/= error andalso not convex_sidecar_epmd:is_used().

%% @private
%% The same for any VM: whether it is distributed, its -proto_dist, its names, whether it has -erl_epmd_port.
-spec distribution(boolean(), string(), boolean() | ignored, boolean()) -> ok | {obstacle(), binary()}.
distribution(IsAlive, Protocol, LongNames, HasOnePort) ->
    case IsAlive andalso obstacle(Protocol, LongNames, HasOnePort) of
        none -> ok;
        false -> {no_distribution, unanswered("this VM has no distribution",
            "start it with --name app@127.0.0.1 (a release: RELEASE_DISTRIBUTION=name RELEASE_NODE=app@127.0.0.1), "
            "or call net_kernel:start/2")};
        tls -> {tls_distribution, unanswered("this VM speaks TLS distribution, which the sidecar does not",
            "start the VM without -proto_dist inet_tls and -ssl_dist_optfile, and let nodes of other machines reach it "
            "over a private network or WireGuard (docs/SECURITY.md)")};
        short -> {short_names_over_ipv6, unanswered("this VM has a short name and speaks IPv6, which lead to no sidecar",
            "start it with --name app@HOST instead of --sname, or without -proto_dist inet6_tcp")};
        epmd -> {no_epmd, unanswered("this VM finds all nodes at one port, without epmd (-erl_epmd_port or ERL_DIST_PORT), "
            "and the sidecar, which is a node of its own, has another",
            "start it with -epmd_module convex_sidecar_epmd as well, which knows the sidecar's port, or without that and with "
            "an epmd (`epmd -address 127.0.0.1 -daemon`)")};
        other -> {other_distribution, unanswered(["this VM speaks ", Protocol, ", which the sidecar does not"],
            "start it without -proto_dist, or with inet_tcp or inet6_tcp")}
    end.

obstacle(Tls, _, _) when Tls =:= "inet_tls"; Tls =:= "inet6_tls" -> tls;
obstacle("inet6_tcp", false, _) -> short;
obstacle(Tcp, _, true) when Tcp =:= "inet_tcp"; Tcp =:= "inet6_tcp" -> epmd;
obstacle(Tcp, _, false) when Tcp =:= "inet_tcp"; Tcp =:= "inet6_tcp" -> none;
obstacle(_Other, _, _) -> other.

unanswered(Why, What) ->
    unicode:characters_to_binary([Why, ", so projections are answered unavailable, and the asynchronous ones are remembered "
        "until it can; ", What]).

protocol() ->
    case init:get_argument(proto_dist) of
        {ok, [[Protocol | _] | _]} -> Protocol;
        _ -> "inet_tcp"
    end.

%% The sections with the values that this module decides.  They are rendered here once, so
%% that start_link, and not the program, reports a fault in them.
config(external, _Config, _Given) ->
    fun() -> [] end;
config(managed, Config, Given) ->
    Sections = as_fun(Config),
    Own =
        [{node, registered_name, Registered} || #{registered_name := Registered} <- [Given]] ++
            [{store, dir, Dir} || #{store_dir := Dir} <- [Given]] ++
            [{delivery, drain_ms, Drain} || #{drain_ms := Drain} <- [Given]],
    Whole = fun() -> lists:foldl(fun put_key/2, sections(Sections()), Own) end,
    Checked = Whole(),
    _ = render(Checked),
    _ = [
        bad(config, ["[", Section, "] ", Key, " is an option of its own: ", Option])
     || {Section, Key, Option} <- [
            {<<"node">>, <<"name">>, "node"},
            {<<"node">>, <<"cookie">>, "none, it is made fresh at every start"},
            {<<"node">>, <<"registered_name">>, "registered_name"},
            {<<"delivery">>, <<"drain_ms">>, "drain_ms"}
        ],
        has_key(Section, Key, sections(Sections()))
    ],
    Whole.

%% @doc The configuration with the values decided at each start, as INI, ended by a line
%% with a single dot.
-spec ini(sections(), [{atom(), atom(), value()}]) -> iodata().
ini(Sections, Own) ->
    [render(lists:foldl(fun put_key/2, sections(Sections), Own)), ".\n"].

render(Sections) ->
    [
        ["[", Section, "]\n", [[Key, " = ", text(Section, Key, Value), "\n"] || {Key, Value} <- Keys]]
     || {Section, Keys} <- Sections
    ].

%% Sections as [{Section, [{Key, Value}]}], names as binaries.
sections(Given) when is_map(Given) -> sections(maps:to_list(Given));
sections(Given) when is_list(Given) -> lists:map(fun section/1, Given);
sections(_Given) -> bad(config, "must be a list or map of sections").

section({Section, Keys}) when is_map(Keys) ->
    section({Section, maps:to_list(Keys)});
section({Section, Keys}) when is_list(Keys) ->
    {word("section", Section), [{word("key", Key), Value} || {Key, Value} <- Keys]};
section(_Other) ->
    bad(config, "every section must be {Name, [{Key, Value}]}").

word(What, Word) ->
    Text = iolist_to_binary(io_lib:format("~ts", [Word])),
    case re:run(Text, "^[A-Za-z0-9_.-]{1,100}$") of
        {match, _} -> Text;
        nomatch -> bad(config, ["a ", What, " may have letters, digits, _, . and - only"])
    end.

put_key({Section0, Key0, Value}, Sections) ->
    Section = word("section", Section0),
    Key = word("key", Key0),
    Keys = proplists:get_value(Section, Sections, []),
    lists:keystore(Section, 1, Sections, {Section, lists:keystore(Key, 1, Keys, {Key, Value})}).

has_key(Section, Key, Sections) ->
    lists:any(fun({S, Keys}) -> S =:= Section andalso lists:keymember(Key, 1, Keys) end, Sections).

%% Refuses a value that inih would change: it ends a value at a line end, trims its
%% blanks, and takes " ;" for the start of a comment.
text(Section, Key, Value) ->
    Text = plain(Section, Key, Value),
    Wrong = re:run(Text, "[\\r\\n\\x00]|^\\s|\\s$|\\s;|^;", [{capture, none}]),
    Wrong =:= match andalso
        bad(config, [
            "[", Section, "] ", Key,
            " must be one line without blanks at its ends and without \";\" after a blank"
        ]),
    Text.

plain(_Section, _Key, Value) when is_atom(Value) -> atom_to_binary(Value);
plain(_Section, _Key, Value) when is_integer(Value) -> integer_to_binary(Value);
plain(_Section, _Key, Value) when is_binary(Value) -> Value;
plain(Section, Key, Value) ->
    case is_list(Value) andalso unicode:characters_to_binary(Value) of
        Text when is_binary(Text) -> Text;
        _ -> bad(config, ["[", Section, "] ", Key, " must be an atom, an integer or text"])
    end.

as_map(_Option, Given) when is_map(Given) -> Given;
as_map(Option, Given) when is_list(Given) ->
    lists:all(fun(Pair) -> is_tuple(Pair) andalso tuple_size(Pair) =:= 2 end, Given) orelse
        bad(Option, "must be {Key, Value} pairs or a map"),
    maps:from_list(Given);
as_map(Option, _Given) ->
    bad(Option, "must be {Key, Value} pairs or a map").

-spec bad(atom(), iodata()) -> no_return().
bad(Option, Why) when is_atom(Option) ->
    throw({bad_option, Option, iolist_to_binary([atom_to_binary(Option), " ", Why])});
bad(Option, Why) ->
    throw({bad_option, options, iolist_to_binary(io_lib:format("~tp ~ts", [Option, Why]))}).
