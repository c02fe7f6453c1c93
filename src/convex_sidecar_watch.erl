%% convex_sidecar_watch - connects to the sidecar's node, and publishes whether it is up.
%%
%% Only this process connects (callers send with `noconnect') and writes the
%% instance's up flag; it also answers callers that wait until the instance is up.
%%
%%   idle     managed mode only: there is no ready program to connect to
%%   trying   a helper process connects, or a pause before the next attempt
%%   up       connected; the flag is set, port and conveyor have been told
%%
%%        expect            connected
%%   idle ------> trying -------------> up
%%    ^             ^ |  not: pause      |
%%    |  gone       +-+                  |
%%    +--- any ------ trying <-----------+  nodedown
%%
%% While this VM has no distribution, or one that the sidecar does not support, no attempt is made: that is
%% logged once, and checked again every second.
%%
%% What can go wrong: the connection fails or hangs (unknown name, wrong cookie,
%% nothing listens).  Then the helper is killed, the pause doubles up to its
%% maximum, and the attempt is repeated, for ever; this is logged once per outage.
%% The cookie is set again for every attempt, because it may have changed, and
%% because a VM that takes another name forgets it.
%%
%% Two consecutive attempts that are accepted but not answered mean that the program
%% exists but does not run (SIGSTOP, a lost machine).  The port is told that it is silent.
%% This process never blocks.
-module(convex_sidecar_watch).
-behaviour(gen_statem).

-export([start_link/1, expect/2, gone/1, await/2]).
-export([init/1, callback_mode/0, terminate/3, idle/3, trying/3, up/3]).

%% Longer than net_kernel's own set-up time (7 s).
-define(ATTEMPT_MS, 10000).
%% A node that does not exist, or refuses, fails within a few ms; one that takes longer hangs.
-define(HANGING_MS, 900).
-define(HANGING_ATTEMPTS, 2).
%% How often to check whether the VM has become distributed.
-define(LOOK_MS, 1000).
%% Consecutive failures before it is logged (a restarting program needs a few attempts).
-define(FAILURES_SAID, 6).

-record(data, {
    info :: convex_sidecar_instance:info(),
    node :: node() | undefined,
    min_ms :: pos_integer(),
    max_ms :: pos_integer(),
    pause_ms :: pos_integer(),
    cookie :: undefined | fun(() -> atom()),
    helper :: undefined | {pid(), reference()},
    helper_at = 0 :: integer(),
    failures = 0 :: non_neg_integer(),
    hanging = 0 :: non_neg_integer(),
    %% why this VM cannot connect to the sidecar, as last reported
    said = none :: none | convex_sidecar_config:obstacle(),
    waiters = #{} :: #{reference() => gen_statem:from()}
}).

-spec start_link(convex_sidecar_config:checked()) -> gen_statem:start_ret().
start_link(#{name := Name} = Options) ->
    gen_statem:start_link({local, convex_sidecar_instance:watch_name(Name)}, ?MODULE, Options, []).

%% @doc Connect: the program is ready and has this cookie (a fun, so that it is not printed).
-spec expect(convex_sidecar_instance:name(), fun(() -> atom())) -> ok.
expect(Name, Cookie) -> gen_statem:cast(convex_sidecar_instance:watch_name(Name), {expect, Cookie}).

%% @doc Note that the program is ending or has ended: the instance is down when this returns.
-spec gone(convex_sidecar_instance:name()) -> ok.
gone(Name) -> gen_statem:call(convex_sidecar_instance:watch_name(Name), gone).

%% @doc Wait until the instance is up, for at most `Timeout' ms.
-spec await(convex_sidecar_instance:name(), timeout()) -> ok | {error, unavailable}.
await(Name, Timeout) ->
    try
        gen_statem:call(convex_sidecar_instance:watch_name(Name), {await, Timeout})
    catch
        exit:_ -> {error, unavailable}
    end.

%% @private
callback_mode() -> [state_functions, state_enter].

%% @private
init(#{name := Name, mode := Mode, dest := {_, Node}} = Options) ->
    process_flag(trap_exit, true),
    {ok, Info} = convex_sidecar_instance:lookup(Name),
    #{backoff_min_ms := Min, backoff_max_ms := Max, cookie := Cookie} = Options,
    Data = #data{
        info = Info,
        node = Node,
        min_ms = min(Min, 50),
        max_ms = min(Max, 2000),
        pause_ms = min(Min, 50),
        cookie = Cookie
    },
    convex_sidecar_instance:set_up(Info, false),
    _ = [convex_sidecar_epmd:put(Node, Port) || #{port := Port} <- [Options], Port =/= undefined],
    case Mode of
        external -> {ok, trying, Data};
        managed -> {ok, idle, Data}
    end.

%% @private
terminate(_Reason, _State, #data{info = Info} = Data) ->
    convex_sidecar_instance:set_up(Info, false),
    _ = stop_helper(Data),
    ok.

%% @private
idle(enter, _Old, _Data) ->
    keep_state_and_data;
idle(cast, {expect, Cookie}, #data{info = #{name := Name}} = Data) ->
    {ok, #{dest := {_, Node}}} = convex_sidecar_instance:lookup(Name),
    {next_state, trying, Data#data{node = Node, cookie = Cookie, failures = 0, hanging = 0}};
idle(Type, Event, Data) ->
    any(Type, Event, Data).

%% @private
trying(enter, _Old, Data) ->
    attempt(Data);
trying(info, {'DOWN', Mref, process, Pid, Result}, #data{helper = {Pid, Mref}} = Data) ->
    attempted(Result, Data#data{helper = undefined});
trying(state_timeout, attempt_hangs, Data) ->
    attempted(hangs, stop_helper(Data));
trying(state_timeout, again, Data) ->
    attempt(Data);
trying(Type, Event, Data) ->
    any(Type, Event, Data).

%% @private
up(enter, _Old, #data{info = Info, waiters = Waiters, min_ms = Min} = Data) ->
    convex_sidecar_instance:set_up(Info, true),
    tell(Data, up),
    Replies = [{reply, From, ok} || From <- maps:values(Waiters)],
    {keep_state, Data#data{waiters = #{}, pause_ms = Min, failures = 0, hanging = 0}, Replies};
up(info, {nodedown, Node}, #data{node = Node, info = #{name := Name}} = Data) ->
    went_down(Data),
    Why = io_lib:format("node=~ts: the connection has ended", [Node]),
    Next = "nothing: it is made again; if it is not, see that the sidecar, its machine and its epmd run",
    convex_sidecar_state:down(Name, warning, <<"node.down">>, {Why, Next}),
    {next_state, trying, Data};
up({call, From}, {await, _}, _Data) ->
    {keep_state_and_data, [{reply, From, ok}]};
up({call, From}, gone, #data{node = Node} = Data) ->
    went_down(Data),
    erlang:monitor_node(Node, false),
    flush_nodedown(Node),
    {next_state, idle, Data, [{reply, From, ok}]};
up(Type, Event, Data) ->
    any(Type, Event, Data).

any({call, From}, {await, Timeout}, #data{waiters = Waiters} = Data) ->
    Key = make_ref(),
    Action =
        case Timeout of
            infinity -> [];
            _ -> [{{timeout, Key}, Timeout, unavailable}]
        end,
    {keep_state, Data#data{waiters = Waiters#{Key => From}}, Action};
any({timeout, Key}, unavailable, #data{waiters = Waiters} = Data) ->
    case maps:take(Key, Waiters) of
        {From, Rest} -> {keep_state, Data#data{waiters = Rest}, [{reply, From, {error, unavailable}}]};
        %% Answered already, when the sidecar came up.
        error -> keep_state_and_data
    end;
any({call, From}, gone, Data) ->
    {next_state, idle, stop_helper(Data), [{reply, From, ok}]};
any(cast, {expect, Cookie}, Data) ->
    {keep_state, Data#data{cookie = Cookie}};
any(_Type, _Event, _Data) ->
    keep_state_and_data.

%% This VM itself (tests, a sidecar written in Erlang) needs no distribution.
attempt(#data{node = Node} = Data) ->
    case Node =:= node() orelse convex_sidecar_config:distribution() of
        Good when Good =:= true; Good =:= ok -> attempt_now(Data#data{said = none});
        {Why, Text} -> {keep_state, say(Why, Text, Data), [{state_timeout, ?LOOK_MS, again}]}
    end.

say(Why, _Text, #data{said = Why} = Data) ->
    Data;
say(Why, Text, #data{info = #{name := Name}} = Data) ->
    convex_sidecar_state:down(Name, warning, <<"node.", (atom_to_binary(Why))/binary>>, {Text, ""}),
    Data#data{said = Why}.

%% The helper's exit reason is `normal' when there is a connection.
attempt_now(#data{node = Node, cookie = Cookie} = Data) ->
    {Helper, Mref} = spawn_monitor(fun() -> exit(connect(Node, Cookie)) end),
    Next = Data#data{helper = {Helper, Mref}, helper_at = now_ms()},
    {keep_state, Next, [{state_timeout, ?ATTEMPT_MS, attempt_hangs}]}.

%% This VM itself (tests, a sidecar written in Erlang) needs no connection.
connect(Node, _Cookie) when Node =:= node() -> normal;
connect(Node, Cookie) ->
    try is_alive() andalso set_cookie(Node, Cookie) andalso net_kernel:connect_node(Node) of
        true -> normal;
        _ -> not_connected
    catch
        _:Reason -> {no_cookie, Reason}
    end.

attempted(normal, #data{node = Node} = Data) ->
    erlang:monitor_node(Node, true),
    {next_state, up, Data};
attempted(Why, #data{pause_ms = Pause, max_ms = Max, failures = N} = Data0) ->
    Data = hanging(Data0#data{pause_ms = min(Pause * 2, Max), failures = N + 1}),
    N + 1 =:= ?FAILURES_SAID andalso say_unreachable(Why, Data),
    {keep_state, Data, [{state_timeout, Pause, again}]}.

say_unreachable(Why, #data{info = #{name := Name}, node = Node}) ->
    Next = "see that the sidecar runs, that epmd has its name, and that the cookie is right; it is tried again, for ever",
    convex_sidecar_state:down(Name, warning, <<"node.unreachable">>, {io_lib:format("node=~ts why=~0tp", [Node, Why]), Next}).

hanging(#data{helper_at = At, hanging = N} = Data) ->
    case now_ms() - At >= ?HANGING_MS of
        true when N + 1 >= ?HANGING_ATTEMPTS ->
            tell(Data, silent),
            Data#data{hanging = 0};
        true ->
            Data#data{hanging = N + 1};
        false ->
            Data#data{hanging = 0}
    end.

stop_helper(#data{helper = undefined} = Data) ->
    Data;
stop_helper(#data{helper = {Pid, Mref}} = Data) ->
    demonitor(Mref, [flush]),
    exit(Pid, kill),
    Data#data{helper = undefined}.

went_down(#data{info = Info} = Data) ->
    convex_sidecar_instance:set_up(Info, false),
    tell(Data, down).

%% A process that is not running yet reads the flag when it starts.
tell(#data{info = #{name := Name}}, What) ->
    Receivers = [
        convex_sidecar_instance:state_name(Name),
        convex_sidecar_instance:port_name(Name),
        convex_sidecar_instance:conveyor_name(Name)
    ],
    _ = [Pid ! {convex_sidecar, What} || R <- Receivers, Pid <- [whereis(R)], is_pid(Pid)],
    ok.

set_cookie(_Node, undefined) -> true;
set_cookie(Node, Cookie) -> erlang:set_cookie(Node, Cookie()).

flush_nodedown(Node) ->
    receive
        {nodedown, Node} -> ok
    after 0 -> ok
    end.

now_ms() -> erlang:monotonic_time(millisecond).
