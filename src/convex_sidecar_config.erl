%% convex_sidecar_config - the options of an instance: checked, completed, and
%% turned into the INI text that a managed sidecar reads from its standard input.
%%
%% Every fault is {error, {bad_option, Option, Sentence}}; the sentence says what
%% would be right.  Nothing here starts anything.  Secrets (admin key, cookie)
%% never stand in a message, and are carried as funs, because the options of a
%% child are printed by supervisors when it starts or crashes.
-module(convex_sidecar_config).

-export([options/1, ini/2, managed_node/1, no_distribution/0]).

-export_type([options/0, checked/0, sections/0]).

-type sections() ::
    [{atom() | binary() | string(), [{atom() | binary() | string(), value()}] | map()}] | map().
-type value() :: atom() | integer() | binary() | string().

-type options() :: #{
    %% the instance (convex_sidecar)
    name => atom(),
    %% managed: start and own the program; external: only connect to a node
    mode => managed | external,
    %% managed: the program (priv/convex_sidecar)
    program => file:name_all(),
    %% managed: configuration sections, or a fun that gives them (so that secrets are not printed)
    config => sections() | fun(() -> sections()),
    %% managed: default <vm name>_convex@127.0.0.1 (@localhost with short names); external: required
    node => node(),
    %% external: the node's cookie (that of this VM); a fun is not printed
    cookie => atom() | fun(() -> atom()),
    %% the name the sidecar is registered under at its node (convex_sidecar)
    registered_name => atom(),
    %% managed: [store] dir
    store_dir => file:name_all(),
    %% managed: how long an ending sidecar goes on delivering (10000)
    drain_ms => non_neg_integer(),
    %% managed: from start to the ready line (10000)
    start_ms => pos_integer(),
    %% waits between starts, or between attempts to connect, double between these
    backoff_min_ms => pos_integer(),
    backoff_max_ms => pos_integer(),
    %% ids the asynchronous form remembers before it falls back on looking at all (100000)
    dirty_limit => pos_integer(),
    %% entities whose last folded event is remembered (100000)
    hint_limit => pos_integer(),
    %% entities in one request of the conveyor (512)
    batch_limit => 1..10000,
    %% how long the conveyor waits for an answer (10000)
    request_ms => pos_integer()
}.

-type checked() :: #{
    name := atom(),
    mode := managed | external,
    %% undefined: this VM has no distribution yet, so a managed sidecar has no node name yet
    dest := {atom(), node() | undefined},
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
    request_ms := pos_integer()
}.

-define(MAX_MS, 3600000).
-define(DEFAULT_DRAIN_MS, 10000).

%% @doc Check the options of an instance and fill in what was left out.
-spec options(options() | [{atom(), term()}]) -> {ok, checked()} | {error, {bad_option, atom(), binary()}}.
options(Given) ->
    try
        {ok, complete(as_map(options, Given))}
    catch
        throw:{bad_option, _, _} = Bad -> {error, Bad}
    end.

complete(Given) ->
    _ = [bad(Key, "is no option of convex_sidecar") || Key <- maps:keys(Given), not is_known(Key)],
    Mode = one_of(mode, Given, [managed, external], managed),
    Name = atom_of(name, Given, convex_sidecar),
    Min = number(backoff_min_ms, Given, {1, ?MAX_MS}, default_backoff_min(Mode)),
    Max = number(backoff_max_ms, Given, {1, ?MAX_MS}, max(Min, default_backoff_max(Mode))),
    Max >= Min orelse bad(backoff_max_ms, "must not be less than backoff_min_ms"),
    Registered = atom_of(registered_name, Given, convex_sidecar),
    Drain = number(drain_ms, Given, {0, 600000}, ?DEFAULT_DRAIN_MS),
    #{
        name => Name,
        mode => Mode,
        dest => {Registered, node_name(Mode, Name, Given)},
        program => program(Given),
        config => config(Mode, Given, Registered, Drain),
        cookie => cookie(Mode, Given),
        drain_ms => Drain,
        start_ms => number(start_ms, Given, {1, ?MAX_MS}, 10000),
        backoff_min_ms => Min,
        backoff_max_ms => Max,
        dirty_limit => number(dirty_limit, Given, {1, 100000000}, 100000),
        hint_limit => number(hint_limit, Given, {1, 100000000}, 100000),
        batch_limit => number(batch_limit, Given, {1, 10000}, 512),
        request_ms => number(request_ms, Given, {1, ?MAX_MS}, 10000)
    }.

is_known(Key) ->
    lists:member(Key, [
        name, mode, program, config, node, cookie, registered_name, store_dir, drain_ms, start_ms,
        backoff_min_ms, backoff_max_ms, dirty_limit, hint_limit, batch_limit, request_ms
    ]).

%% A program is heavier to start than a connection is to try.
default_backoff_min(managed) -> 100;
default_backoff_min(external) -> 50.
default_backoff_max(managed) -> 5000;
default_backoff_max(external) -> 2000.

node_name(_Mode, _Name, #{node := Node}) ->
    case is_atom(Node) andalso string:split(atom_to_list(Node), "@") of
        [[_ | _], [_ | _]] -> Node;
        _ -> bad(node, "must be a full node name like 'convex_sidecar@127.0.0.1'")
    end;
node_name(external, _Name, _Given) ->
    bad(node, "must be given when mode is external: the node name of the running sidecar");
node_name(managed, Name, _Given) ->
    case is_alive() of
        true -> managed_node(Name);
        false -> undefined
    end.

%% @doc The node name of a managed sidecar whose options name none; for a VM with distribution.
-spec managed_node(atom()) -> node().
managed_node(Name) ->
    [Alive | _] = string:split(atom_to_list(node()), "@"),
    Host =
        case net_kernel:longnames() of
            false -> "localhost";
            _ -> "127.0.0.1"
        end,
    list_to_atom(Alive ++ "_" ++ own_part(Name) ++ "@" ++ Host).

own_part(convex_sidecar) -> "convex";
own_part(Name) -> atom_to_list(Name).

%% @doc What it means that this VM has no distribution, and what to do; for the log and for health/1.
-spec no_distribution() -> string().
no_distribution() ->
    "this VM has no distribution, so projections are answered unavailable, and the asynchronous ones "
    "are remembered until it has; start it with --name app@127.0.0.1 (a release: "
    "RELEASE_DISTRIBUTION=name RELEASE_NODE=app@127.0.0.1), or call net_kernel:start/2".

program(#{program := Program}) when is_list(Program), Program =/= []; is_binary(Program), Program =/= <<>> ->
    Program;
program(#{program := _}) ->
    bad(program, "must be a path");
program(_Given) ->
    case code:priv_dir(convex_sidecar) of
        {error, bad_name} -> filename:join(["priv", "convex_sidecar"]);
        Dir -> filename:join(Dir, "convex_sidecar")
    end.

cookie(managed, #{cookie := _}) ->
    bad(cookie, "is made fresh in managed mode; leave it out");
cookie(_Mode, #{cookie := Cookie}) when is_function(Cookie, 0) ->
    Cookie;
cookie(_Mode, #{cookie := Cookie}) when is_atom(Cookie) ->
    fun() -> Cookie end;
cookie(_Mode, #{cookie := _}) ->
    bad(cookie, "must be an atom, or a fun that gives one");
cookie(_Mode, _Given) ->
    undefined.

%% The sections with what the owner itself decides.  They are rendered once here, so
%% that a fault in them is an error of start_link and not of the program.
config(external, #{config := _}, _Registered, _Drain) ->
    bad(config, "is for managed mode; an external sidecar has its own file");
config(external, _Given, _Registered, _Drain) ->
    fun() -> [] end;
config(managed, Given, Registered, Drain) ->
    Sections =
        case maps:get(config, Given, []) of
            Fun when is_function(Fun, 0) -> Fun;
            Plain -> fun() -> Plain end
        end,
    Own =
        [{node, registered_name, Registered} || is_map_key(registered_name, Given)] ++
            [{store, dir, maps:get(store_dir, Given)} || is_map_key(store_dir, Given)] ++
            [{delivery, drain_ms, Drain} || is_map_key(drain_ms, Given)],
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

%% @doc The configuration with what is decided at each start, as INI, closed by a line
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

%% A value is one line and means itself: inih would cut it at a line end, trim its
%% blanks, and take " ;" for the start of a comment.
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

one_of(Key, Given, Choices, Default) ->
    Value = maps:get(Key, Given, Default),
    lists:member(Value, Choices) orelse
        bad(Key, ["must be ", lists:join(" or ", [atom_to_list(C) || C <- Choices])]),
    Value.

atom_of(Key, Given, Default) ->
    Value = maps:get(Key, Given, Default),
    (is_atom(Value) andalso Value =/= undefined andalso Value =/= nil) orelse bad(Key, "must be an atom"),
    Value.

number(Key, Given, {Min, Max}, Default) ->
    Value = maps:get(Key, Given, Default),
    (is_integer(Value) andalso Value >= Min andalso Value =< Max) orelse
        bad(Key, io_lib:format("must be an integer from ~b to ~b", [Min, Max])),
    Value.

-spec bad(atom(), iodata()) -> no_return().
bad(Option, Why) when is_atom(Option) ->
    throw({bad_option, Option, iolist_to_binary([atom_to_binary(Option), " ", Why])});
bad(Option, Why) ->
    throw({bad_option, options, iolist_to_binary(io_lib:format("~tp ~ts", [Option, Why]))}).
