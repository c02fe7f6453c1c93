%% convex_sidecar_instance - the name, the flags and the tables of one sidecar.
%%
%% An instance is a name (an atom).  Its supervisor calls open/2 in its own
%% process, so the tables live as long as the supervisor: no worker that crashes
%% takes the dirty set with it.  Everything a caller needs on the hot path is in
%% one persistent_term: the destination of requests, the flags, the tables.
%%
%% The term is written once for each start of the supervisor (and once more when
%% a VM that was started without distribution becomes distributed).  "Up" and
%% "idle" are atomics inside it, so that a sidecar that goes down and up never
%% causes the global garbage collection that a changed persistent_term costs.
%%
%% The term outlives the supervisor (until close/1): an instance that is down
%% for a moment is still an instance, and answers `unavailable'.
-module(convex_sidecar_instance).

-export([open/2, close/1, lookup/1, destination/1, set_node/2, set_up/2, is_up/1]).
-export([health/1, with_tables/3, knows_all/1, known_options/2, is_older/2]).
-export([state_name/1, watch_name/1, port_name/1, conveyor_name/1, sweeper_name/1, sup_name/1]).
-export([hint/2, hint/3, remember/2, remember/4, forget/3]).
-export([log/5, word/1]).

-export_type([name/0, info/0]).

-type name() :: atom().
-type info() :: #{
    name := name(),
    %% the node is undefined until this VM has been distributed (managed mode)
    dest := {atom(), node() | undefined},
    flags := atomics:atomics_ref(),
    %% {{{Kind, Id}, Source}}: changed since they were last handed over.
    dirty := ets:tid(),
    %% {Batch, [{{Kind, Id}, Source}]}: taken by the conveyor and not yet settled; see convex_sidecar_marks.
    flight := ets:tid(),
    %% {{Kind, Source}, asked | pending | {changed, Ms} | sweeping}: all ids must be looked at, because a caller
    %% asked for it or too much changed; or those that changed in the last Ms.
    sweeps := ets:tid(),
    %% {{Kind, Id}, Seq}: the last event the sidecar is believed to have folded.
    hints := ets:tid(),
    %% One row for each entity that is to be looked at again; see convex_sidecar_looks.
    looks := ets:tid(),
    %% {{Mark, InTransaction}, Seen, Until, At}: looks that processes other than the conveyor asked for.
    asked := ets:tid(),
    %% {shown, Map}: the state of everything; see convex_sidecar_state.
    state := ets:tid(),
    dirty_limit := pos_integer(),
    hint_limit := pos_integer()
}.

-define(UP, 1).
%% Slot 2 of the flags belongs to convex_sidecar_marks.
-define(OLDER, 3).
-define(FLAGS, 3).
%% Options of `project' that a program of 0.1 does not know, and that may be left out for it.
-define(SINCE_0_2, [log_end, below, row_version]).

%% @doc Make the tables of an instance, owned by the calling process, and publish them.
-spec open(name(), #{
    dest := {atom(), node() | undefined}, dirty_limit := pos_integer(), hint_limit := pos_integer(), _ => _
}) -> info().
open(Name, #{dest := Dest, dirty_limit := DirtyLimit, hint_limit := HintLimit}) ->
    %% Every mark reads the size of the dirty table: with the decentralized counters that
    %% an ordered_set gets by default, that would involve every scheduler.
    Concurrent = [public, {write_concurrency, true}, {read_concurrency, true}, {decentralized_counters, false}],
    Info = #{
        name => Name,
        dest => Dest,
        flags => atomics:new(?FLAGS, []),
        dirty => ets:new(convex_sidecar_dirty, [ordered_set | Concurrent]),
        flight => ets:new(convex_sidecar_flight, [set, public]),
        sweeps => ets:new(convex_sidecar_sweeps, [set, public]),
        hints => ets:new(convex_sidecar_hints, [set | Concurrent]),
        looks => ets:new(convex_sidecar_looks, [set, public, {keypos, 2}]),
        asked => ets:new(convex_sidecar_asked, [set | Concurrent]),
        state => ets:new(convex_sidecar_state, [set, public, {read_concurrency, true}]),
        dirty_limit => DirtyLimit,
        hint_limit => HintLimit
    },
    ets:insert(maps:get(state, Info), {shown, #{}}),
    persistent_term:put({?MODULE, Name}, Info),
    Info.

%% @doc Forget an instance that has been stopped for good.
-spec close(name()) -> ok.
close(Name) ->
    _ = persistent_term:erase({?MODULE, Name}),
    ok.

%% @doc The instance of that name, or `error' if none was ever started.
-spec lookup(name()) -> {ok, info()} | error.
lookup(Name) ->
    case persistent_term:get({?MODULE, Name}, error) of
        error -> error;
        Info -> {ok, Info}
    end.

%% @doc Where the instance's requests go, when it is up.  Calls no process.
-spec destination(name()) -> {up, {atom(), node()}} | down.
destination(Name) ->
    case lookup(Name) of
        {ok, #{dest := Dest} = Info} ->
            case is_up(Info) of
                true -> {up, Dest};
                false -> down
            end;
        error ->
            down
    end.

%% @doc Name the sidecar's node; only convex_sidecar_port does this, before the watch connects to it.
-spec set_node(name(), node()) -> ok.
set_node(Name, Node) ->
    case lookup(Name) of
        {ok, #{dest := {_, Node}}} -> ok;
        {ok, #{dest := {Registered, _}} = Info} ->
            persistent_term:put({?MODULE, Name}, Info#{dest := {Registered, Node}})
    end.

%% @doc Whether documents are delivered, as far as this VM has heard; if not, why, and what to do.
-spec health(name()) ->
    ok | {error, {not_started | not_connected | stopped | store_failing | convex_sidecar_config:obstacle(), binary()}}.
health(Name) ->
    case lookup(Name) of
        {ok, Info} -> health_of(Info, convex_sidecar_state:state(Name));
        error -> {error, {not_started, <<"no sidecar of this name was started; add it to a supervisor">>}}
    end.

health_of(Info, Shown) ->
    case is_up(Info) orelse convex_sidecar_config:distribution() of
        true -> health_of_delivery(Shown);
        {_Why, _Text} = Obstacle -> {error, Obstacle};
        ok -> {error, {not_connected, not_connected(Info, Shown)}}
    end.

health_of_delivery(#{store := #{state := stopped} = Store}) -> {error, {store_failing, why_and_next(Store)}};
health_of_delivery(#{endpoint := #{state := stopped} = Endpoint}) -> {error, {stopped, why_and_next(Endpoint)}};
health_of_delivery(_) -> ok.

not_connected(#{dest := {_, Node}}, #{sidecar := #{state := down} = Down}) ->
    unicode:characters_to_binary(io_lib:format("no connection to ~ts: ~ts", [Node, why_and_next(Down)]));
not_connected(#{dest := {_, Node}}, _) ->
    unicode:characters_to_binary(io_lib:format("no connection to ~ts yet", [Node])).

why_and_next(#{why := Why, next := <<>>}) -> Why;
why_and_next(#{why := Why, next := Next}) -> <<Why/binary, "; next: ", Next/binary>>.

%% @doc Set whether the sidecar is reachable; only the watch does this.
-spec set_up(info(), boolean()) -> ok.
set_up(#{flags := Flags}, true) ->
    atomics:put(Flags, ?OLDER, 0),
    atomics:put(Flags, ?UP, 1);
set_up(#{flags := Flags}, false) -> atomics:put(Flags, ?UP, 0).

-spec is_up(info()) -> boolean().
is_up(#{flags := Flags}) -> atomics:get(Flags, ?UP) =:= 1.

%% @doc Those options of a projection that the running program knows, as far as it has said.
-spec known_options(convex_sidecar:server(), #{atom() => term()}) -> #{atom() => term()}.
known_options(Server, Options) ->
    case knows_all(Server) of
        true -> Options;
        false -> maps:without(?SINCE_0_2, Options)
    end.

%% @doc Whether that program knows all of them, as far as it has said.
-spec knows_all(convex_sidecar:server()) -> boolean().
knows_all(Name) when is_atom(Name) ->
    case lookup(Name) of
        {ok, #{flags := Flags}} -> atomics:get(Flags, ?OLDER) =:= 0;
        error -> true
    end;
knows_all(_Elsewhere) ->
    true.

%% @doc Whether a refusal means only that the program is older than this package: then the request is to be
%% repeated without what it does not know (known_options/2).
-spec is_older(convex_sidecar:server(), term()) -> boolean().
is_older(Name, {invalid, <<"opts.", Option/binary>>, <<"there is no such option">>}) when is_atom(Name) ->
    case lists:member(Option, [atom_to_binary(Known) || Known <- ?SINCE_0_2]) andalso lookup(Name) of
        {ok, #{flags := Flags}} ->
            _ = atomics:exchange(Flags, ?OLDER, 1) =:= 0 andalso
                log(warning, <<"sidecar.older">>,
                    "it does not know the option ~ts: until it is upgraded, events that were taken back stay in their documents",
                    [Option], Name),
            true;
        _ ->
            false
    end;
is_older(_Name, _Reason) ->
    false.

%% @doc The registered names of an instance's processes.
-spec sup_name(name()) -> atom().
sup_name(Name) -> suffixed(Name, "_sup").
-spec state_name(name()) -> atom().
state_name(Name) -> suffixed(Name, "_state").
-spec watch_name(name()) -> atom().
watch_name(Name) -> suffixed(Name, "_watch").
-spec port_name(name()) -> atom().
port_name(Name) -> suffixed(Name, "_port").
-spec conveyor_name(name()) -> atom().
conveyor_name(Name) -> suffixed(Name, "_conveyor").
-spec sweeper_name(name()) -> atom().
sweeper_name(Name) -> suffixed(Name, "_sweeper").

suffixed(Name, Suffix) -> list_to_atom(atom_to_list(Name) ++ Suffix).

%% @doc The last event the sidecar is believed to have folded, or `unknown'.
%% It is a hint: a wrong one costs one `gap' answer, never a wrong document.
-spec hint(convex_sidecar:server(), convex_sidecar:kind(), binary()) -> non_neg_integer() | unknown.
hint(Name, Kind, Id) when is_atom(Name) ->
    with_tables(Name, unknown, fun(Info) -> hint(Info, {Kind, Id}) end);
hint(_Elsewhere, _Kind, _Id) ->
    unknown.

%% @doc The same, for processes that end no later than the tables.
-spec hint(info(), {convex_sidecar:kind(), binary()}) -> non_neg_integer() | unknown.
hint(#{hints := Hints}, Key) ->
    case ets:lookup(Hints, Key) of
        [{_, Seq}] -> Seq;
        [] -> unknown
    end.

%% @doc Remember the last event handed over.  When the table is full it is emptied.
-spec remember(convex_sidecar:server(), convex_sidecar:kind(), binary(), non_neg_integer()) -> ok.
remember(Name, Kind, Id, Seq) when is_atom(Name) ->
    remember(Name, [{{Kind, Id}, Seq}]);
remember(_Elsewhere, _Kind, _Id, _Seq) ->
    ok.

%% @doc The same for many entities.
-spec remember(name(), [{{convex_sidecar:kind(), binary()}, non_neg_integer()}]) -> ok.
remember(Name, Seqs) ->
    with_tables(Name, ok, fun(#{hints := Hints, hint_limit := Limit}) ->
        case ets:info(Hints, size) >= Limit of
            true -> ets:delete_all_objects(Hints);
            false -> true
        end,
        ets:insert(Hints, Seqs),
        ok
    end).

-spec forget(convex_sidecar:server(), convex_sidecar:kind(), binary()) -> ok.
forget(Name, Kind, Id) when is_atom(Name) ->
    with_tables(Name, ok, fun(#{hints := Hints}) ->
        ets:delete(Hints, {Kind, Id}),
        ok
    end);
forget(_Elsewhere, _Kind, _Id) ->
    ok.

%% @doc What Fun returns for the instance; Default when there is none, or its tables ended with its
%% supervisor.
-spec with_tables(name(), Default, fun((info()) -> Result)) -> Default | Result.
with_tables(Name, Default, Fun) ->
    case lookup(Name) of
        {ok, Info} ->
            try
                Fun(Info)
            catch
                error:badarg -> Default
            end;
        error ->
            Default
    end.

%% @doc An id as one word of a log line: quoted and escaped when it contains blanks, line ends or the like.
-spec word(binary()) -> io_lib:chars() | binary().
word(Id) ->
    case re:run(Id, "^[!-~]+$", [{capture, none}, dollar_endonly]) of
        match -> Id;
        nomatch -> io_lib:format("~0tp", [unicode:characters_to_list(Id)])
    end.

%% @doc Log one line, with the instance's name and the event as metadata.  It is formatted here, because Elixir's
%% Logger puts each element of a ~0tp on a line of its own.
-spec log(logger:level(), binary(), io:format(), [term()], name()) -> ok.
log(Level, Event, Format, Args, Name) ->
    Line = fun(All) -> {"~ts", [io_lib:format("~ts instance=~ts " ++ Format, All)]} end,
    logger:log(Level, Line, [Event, Name | Args], #{
        domain => [convex_sidecar], event => Event, instance => Name
    }).
