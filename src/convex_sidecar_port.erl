%% convex_sidecar_port - owns the operating-system process of a managed sidecar.
%%
%% The happy path: start `convex_sidecar run --managed', write its configuration
%% (with a fresh cookie) to its standard input, read the line "ready node=...",
%% tell the watch to connect.  Log lines of the program become logger events.
%%
%%   starting   the program runs, its ready line is awaited; longer while it reports that it migrates its store
%%   running    it is ready; the watch connects
%%   stopping   it was told to end (SIGTERM, or SIGKILL): its exit is awaited
%%   waiting    a pause before the next start
%%   undistributed  this VM has no distribution, or one that the program does not support; this
%%              is checked every second, and the program starts once it has
%%
%%   state      | ready line | exit                         | time over     | restart/1
%%   starting   | running    | waiting                      | kill, stopping| answered when up
%%   running    | -          | status 0: starting, else     | log (not      | SIGTERM, stopping
%%              |            | waiting                      | connected)    |
%%              |            | (silent: kill, stopping)     |               |
%%   stopping   | -          | starting (waiting after kill)| kill          | answered when up
%%   waiting    | -          | -                            | starting      | starting
%%   undistrib. | -          | -                            | waiting       | an error
%%
%% What can go wrong: the program is missing, is not executable, exits, never gets
%% ready, ignores SIGTERM, or hangs (the watch finds it silent).  In every case the
%% instance is down, the reason and the program's last lines are logged once, and
%% the program is started again after a pause that doubles (and is reset once it
%% has been ready for ten seconds).
%% An exit with status 0 that this process did not ask for is an operator's SIGTERM:
%% the next start follows at once.  When this VM dies, the pipe closes, and the
%% program drains and ends by itself.
%%
%% restart/1 does not wait for deliveries: what is kept is on disk, and the next
%% program continues with it.  So a second SIGTERM ("do not wait") soon follows the
%% first one, and an unreachable Convex does not lengthen the gap.
-module(convex_sidecar_port).
-behaviour(gen_statem).

-export([start_link/1, restart/1, os_pid/1]).
-export([init/1, callback_mode/0, terminate/3, starting/3, running/3, stopping/3, waiting/3, undistributed/3]).

-define(STEADY_MS, 10000).
-define(KILL_AFTER_DRAIN_MS, 2000).
%% restart/1: how long calls to Convex that are under way may still be answered.
-define(RESTART_DRAIN_MS, 250).
%% The longest time between two "migrating" lines, which the program writes every two seconds.
-define(MIGRATING_MS, 30000).
%% How often to check whether the VM has become distributed.
-define(LOOK_MS, 1000).
-define(LINE_BYTES, 4096).
-define(TAIL_LINES, 10).
-define(STARTED_AGAIN, "see its last words; it is started again, for ever").

-record(data, {
    %% fixed
    name :: convex_sidecar_instance:name(),
    node :: node() | undefined,
    options :: convex_sidecar_config:checked(),
    %% the process, while there is one
    port :: undefined | port(),
    os_pid :: undefined | pos_integer(),
    cookie :: undefined | fun(() -> atom()),
    ready_at :: undefined | integer(),
    tail = [] :: [binary()],
    cut = <<>> :: binary(),
    %% between two programs
    pause_ms :: pos_integer(),
    down_at :: integer(),
    then = start :: start | pause,
    %% why this VM cannot connect to the program, as last reported
    obstacle = none :: none | convex_sidecar_config:obstacle(),
    restarts = [] :: [gen_statem:from()]
}).

-spec start_link(convex_sidecar_config:checked()) -> gen_statem:start_ret().
start_link(#{name := Name} = Options) ->
    gen_statem:start_link({local, convex_sidecar_instance:port_name(Name)}, ?MODULE, Options, []).

%% @doc Let the program drain and end, start it again (a new binary is picked up), and wait
%% until it is up.  `gap_ms' is how long the instance was down.
-spec restart(convex_sidecar_instance:name()) -> {ok, #{gap_ms := non_neg_integer()}} | {error, term()}.
restart(Name) ->
    try
        gen_statem:call(convex_sidecar_instance:port_name(Name), restart)
    catch
        exit:{noproc, _} -> {error, not_managed};
        exit:{Reason, _} -> {error, Reason}
    end.

%% @doc The process id of the running program, if there is one.
-spec os_pid(convex_sidecar_instance:name()) -> undefined | pos_integer().
os_pid(Name) -> gen_statem:call(convex_sidecar_instance:port_name(Name), os_pid).

%% @private
callback_mode() -> [state_functions, state_enter].

%% @private
%% The first timeout starts the program, so the supervisor does not wait for it.
init(#{name := Name, dest := {_, Node}, backoff_min_ms := Min} = Options) ->
    process_flag(trap_exit, true),
    Data = #data{name = Name, node = Node, options = Options, pause_ms = Min, down_at = now_ms()},
    {ok, waiting, Data#data{then = start}}.

%% @private
%% The supervisor's shutdown: a restart without the start.  The program's last lines
%% are still logged.
terminate(_Reason, _State, #data{port = undefined}) ->
    ok;
terminate(_Reason, _State, #data{options = #{drain_ms := Drain}} = Data) ->
    go_down(Data),
    signal("TERM", Data),
    case await_exit(Data, now_ms() + Drain + ?KILL_AFTER_DRAIN_MS) of
        gone ->
            ok;
        still_there ->
            log(warning, <<"sidecar.killed">>, "it did not end by itself within drain_ms", [], Data),
            signal("KILL", Data),
            _ = await_exit(Data, now_ms() + 1000),
            ok
    end.

await_exit(#data{port = Port} = Data, Deadline) ->
    receive
        {Port, {exit_status, _}} -> gone;
        {'EXIT', Port, _} -> gone;
        {Port, {data, Line}} -> await_exit(said(Line, Data), Deadline)
    after max(0, Deadline - now_ms()) -> still_there
    end.

%% ---- waiting

%% @private
waiting(enter, _Old, #data{then = start}) ->
    {keep_state_and_data, [{state_timeout, 0, start}]};
waiting(enter, _Old, #data{then = pause, pause_ms = Pause, options = #{backoff_max_ms := Max}} = Data) ->
    {keep_state, Data#data{then = start, pause_ms = min(Pause * 2, Max)}, [{state_timeout, Pause, start}]};
waiting(state_timeout, start, Data) ->
    launch(Data);
waiting({call, From}, restart, #data{restarts = Froms} = Data) ->
    launch(Data#data{restarts = [From | Froms]});
waiting(Type, Event, Data) ->
    any(Type, Event, Data).

%% ---- undistributed

%% @private
undistributed(enter, _Old, Data) ->
    {keep_state, Data#data{obstacle = none}, [{state_timeout, 0, look}]};
undistributed(state_timeout, look, #data{obstacle = Said} = Data) ->
    case convex_sidecar_config:distribution() of
        ok ->
            {next_state, waiting, Data#data{then = start}};
        {Said, _Text} ->
            {keep_state_and_data, [{state_timeout, ?LOOK_MS, look}]};
        {Why, Text} ->
            down(warning, <<"sidecar.", (atom_to_binary(Why))/binary>>, Text, "", Data),
            {keep_state, answer({error, Why}, Data#data{obstacle = Why}), [{state_timeout, ?LOOK_MS, look}]}
    end;
undistributed({call, From}, restart, Data) ->
    case convex_sidecar_config:distribution() of
        ok -> {next_state, waiting, Data#data{then = start}, [postpone]};
        {Why, _Text} -> {keep_state_and_data, [{reply, From, {error, Why}}]}
    end;
undistributed(Type, Event, Data) ->
    any(Type, Event, Data).

%% ---- starting

%% @private
starting(enter, _Old, #data{options = #{start_ms := StartMs}}) ->
    {keep_state_and_data, [{state_timeout, StartMs, not_ready}]};
starting(info, {Port, {data, Line}}, #data{port = Port, options = #{start_ms := StartMs}} = Data) ->
    case ready(Line, Data) of
        {ready, Node, Listens} -> became_ready(Node, Listens, Data);
        migrating -> {keep_state_and_data, [{state_timeout, max(StartMs, ?MIGRATING_MS), not_ready}]};
        no -> {keep_state, said(Line, Data)}
    end;
starting(info, {Port, {exit_status, Status}}, #data{port = Port} = Data) ->
    exited(Status, Data);
starting(state_timeout, not_ready, Data) ->
    down(error, <<"sidecar.not_ready">>, ["no ready line within start_ms", tail(Data)], ?STARTED_AGAIN, Data),
    signal("KILL", Data),
    {next_state, stopping, answer({error, not_ready}, Data#data{then = pause})};
starting(Type, Event, Data) ->
    any(Type, Event, Data).

%% ---- running

%% @private
running(enter, _Old, #data{name = Name, cookie = Cookie, options = #{start_ms := StartMs}} = Data) ->
    convex_sidecar_watch:expect(Name, Cookie),
    {keep_state, Data#data{ready_at = now_ms()}, [{state_timeout, StartMs, not_connected}]};
running(info, {convex_sidecar, up}, #data{down_at = DownAt} = Data) ->
    Answered = answer({ok, #{gap_ms => now_ms() - DownAt}}, Data),
    {keep_state, Answered, [{state_timeout, infinity, not_connected}]};
running(state_timeout, not_connected, Data) ->
    Next = "see that epmd runs on this machine (`epmd -names`); it is tried again, for ever",
    down(warning, <<"sidecar.not_connected">>, "ready, but no connection to its node yet", Next, Data),
    {keep_state, answer({error, not_connected}, Data)};
running(info, {convex_sidecar, down}, Data) ->
    {keep_state, Data#data{down_at = now_ms()}};
running(info, {convex_sidecar, silent}, Data) ->
    Why = io_lib:format("os_pid=~p takes connections and answers none~ts", [Data#data.os_pid, tail(Data)]),
    down(error, <<"sidecar.frozen">>, Why, "nothing: it is killed and started again", Data),
    go_down(Data),
    signal("KILL", Data),
    {next_state, stopping, Data#data{then = pause}};
running(info, {Port, {exit_status, Status}}, #data{port = Port} = Data) ->
    exited(Status, Data);
running({call, From}, restart, #data{restarts = Froms} = Data) ->
    go_down(Data),
    down(info, <<"sidecar.restarting">>, "restart/1 was called", "", Data),
    signal("TERM", Data),
    {next_state, stopping, Data#data{restarts = [From | Froms], then = start, down_at = now_ms()}, [
        {{timeout, hurry}, ?RESTART_DRAIN_MS, again}
    ]};
running(Type, Event, Data) ->
    any(Type, Event, Data).

%% ---- stopping

%% @private
stopping(enter, _Old, #data{options = #{drain_ms := Drain}}) ->
    {keep_state_and_data, [{state_timeout, Drain + ?KILL_AFTER_DRAIN_MS, still_there}]};
stopping(info, {Port, {exit_status, Status}}, #data{port = Port} = Data) ->
    log(debug, <<"sidecar.ended">>, "~ts", [status(Status)], Data),
    {next_state, waiting, closed(Data)};
stopping({timeout, hurry}, again, Data) ->
    signal("TERM", Data),
    keep_state_and_data;
stopping(state_timeout, still_there, Data) ->
    log(warning, <<"sidecar.killed">>, "it did not end by itself within drain_ms", [], Data),
    signal("KILL", Data),
    keep_state_and_data;
stopping(Type, Event, Data) ->
    any(Type, Event, Data).

%% ---- any state

any({call, From}, restart, #data{restarts = Froms} = Data) ->
    {keep_state, Data#data{restarts = [From | Froms]}};
any({call, From}, os_pid, #data{os_pid = Pid}) ->
    {keep_state_and_data, [{reply, From, Pid}]};
any(info, {Port, {data, Line}}, #data{port = Port} = Data) ->
    {keep_state, said(Line, Data)};
any(info, {'EXIT', Port, _Why}, #data{port = Port}) ->
    %% The VM was still writing to a program that has ended (epipe): no exit_status will arrive.
    {keep_state_and_data, [{next_event, info, {Port, {exit_status, unread}}}]};
any(_Type, _Event, _Data) ->
    %% The 'EXIT' of a port whose exit_status was seen, `up' and `down' between two
    %% programs, or a `hurry' that came too late.
    keep_state_and_data.

%% ---- starting the program

launch(Data) ->
    case convex_sidecar_config:distribution() of
        ok -> launch_program(with_cookie(with_node(Data)));
        {_Why, _Text} -> {next_state, undistributed, Data}
    end.

launch_program(#data{options = #{program := Program, config := Sections}} = Data) ->
    try
        Ini = iolist_to_binary(configuration(Sections(), Data)),
        Port = open_port({spawn_executable, Program}, [
            {args, ["run", "--managed"]},
            {env, [{Key, false} || {Key, _} <- os:env(), is_not_its(Key)]},
            {line, ?LINE_BYTES},
            exit_status,
            use_stdio,
            stderr_to_stdout,
            binary,
            hide
        ]),
        tell_configuration(Port, Ini),
        {next_state, starting, Data#data{port = Port, os_pid = os_pid_of(Port), tail = [], cut = <<>>}}
    catch
        error:Reason ->
            not_started(Reason, Data);
        throw:{bad_option, _, Why} ->
            not_started(Why, Data)
    end.

%% A program that has ended already reads nothing; its exit status is on the way.
tell_configuration(Port, Ini) ->
    try port_command(Port, Ini) of
        true -> ok
    catch
        error:badarg -> ok
    end.

%% The program's configuration is the one written here, and the service manager's variables belong to the VM's unit.
is_not_its("CONVEX_SIDECAR_" ++ _) -> true;
is_not_its("WATCHDOG_" ++ _) -> true;
is_not_its(Key) -> Key =:= "NOTIFY_SOCKET".

not_started(Reason, #data{options = #{program := Program}} = Data) ->
    Next = "see that the program is there and may be executed, and that the options are right; it is tried again, for ever",
    down(error, <<"sidecar.not_started">>, io_lib:format("program=~ts reason=~0tp", [Program, Reason]), Next, Data),
    {repeat_state, answer({error, {not_started, Reason}}, Data#data{then = pause})}.

configuration(Sections, #data{node = Node, cookie = Cookie}) ->
    Own = [{node, name, Node}, {node, cookie, Cookie()}] ++ [{node, epmd, off} || convex_sidecar_epmd:is_used()],
    convex_sidecar_config:ini(Sections, Own).

%% The sidecar's node is named after this VM, whose name may be set later than the options.
with_node(#data{name = Name, node = undefined} = Data) ->
    Node = convex_sidecar_config:managed_node(Name),
    ok = convex_sidecar_instance:set_node(Name, Node),
    Data#data{node = Node};
with_node(Data) ->
    Data.

%% A fresh cookie for every start, except while the program keeps crashing: every
%% cookie is an atom, and atoms are never freed.
with_cookie(#data{cookie = Cookie, pause_ms = Pause, options = #{backoff_min_ms := Min}} = Data) when
    Cookie =:= undefined; Pause =:= Min
->
    Fresh = binary_to_atom(binary:encode_hex(crypto:strong_rand_bytes(24))),
    Data#data{cookie = fun() -> Fresh end};
with_cookie(Data) ->
    Data.

os_pid_of(Port) ->
    case erlang:port_info(Port, os_pid) of
        {os_pid, Pid} -> Pid;
        %% It has ended already; its exit status is on the way.
        undefined -> undefined
    end.

ready({eol, <<"ready ", Rest/binary>>}, _Data) ->
    case re:run(Rest, "node=(\\S+) port=([0-9]+)", [{capture, all_but_first, binary}]) of
        {match, [Node, Port]} -> {ready, Node, binary_to_integer(Port)};
        nomatch -> no
    end;
ready({eol, <<"migrating ", _/binary>>}, _Data) ->
    migrating;
ready(_Line, _Data) ->
    no.

became_ready(Node, Port, #data{node = Expected} = Data) ->
    case atom_to_binary(Expected) of
        Node ->
            convex_sidecar_epmd:put(Expected, Port),
            log(debug, <<"sidecar.ready">>, "node=~ts os_pid=~p", [Node, Data#data.os_pid], Data),
            {next_state, running, Data};
        _Other ->
            Why = io_lib:format("node=~ts expected=~ts", [Node, Expected]),
            down(error, <<"sidecar.wrong_node">>, Why, "see option `program`: it is not of this build", Data),
            signal("KILL", Data),
            {next_state, stopping, answer({error, wrong_node}, Data#data{then = pause})}
    end.

%% ---- ending it

%% An exit that this process did not ask for.
exited(Status, #data{ready_at = ReadyAt, options = #{backoff_min_ms := Min}} = Data0) ->
    go_down(Data0),
    Data1 = Data0#data{down_at = now_ms()},
    Steady = ReadyAt =/= undefined andalso now_ms() - ReadyAt >= ?STEADY_MS,
    case Status =:= 0 andalso ReadyAt =/= undefined of
        true ->
            down(info, <<"sidecar.ended">>, "status=0: it was told to end", "nothing: it is started again", Data1),
            {next_state, waiting, closed(Data1#data{then = start})};
        false ->
            down(error, <<"sidecar.exited">>, [status(Status), tail(Data1)], ?STARTED_AGAIN, Data1),
            Data2 = answer({error, {exit_status, Status}}, Data1#data{then = pause}),
            Data3 =
                case Steady of
                    true -> Data2#data{pause_ms = Min};
                    false -> Data2
                end,
            {next_state, waiting, closed(Data3)}
    end.

%% If the watch has ended too, the supervisor is about to end this process.
go_down(#data{name = Name}) ->
    try
        convex_sidecar_watch:gone(Name)
    catch
        exit:_ -> ok
    end.

%% ENOEXEC, from the VM's forked child; the program itself never exits with it.
status(8) -> "status=8: the program could not be executed; is it made for this processor?";
status(unread) ->
    "it ended before it read its configuration; unless it says why, "
    "it could not be executed; is it made for this processor?";
%% As the shell counts: 128 plus the signal number.
status(Status) when Status > 128 -> io_lib:format("signal=~b", [Status - 128]);
status(Status) -> io_lib:format("status=~b", [Status]).

closed(Data) ->
    Data#data{port = undefined, os_pid = undefined, ready_at = undefined, tail = [], cut = <<>>}.

answer(Reply, #data{restarts = Froms} = Data) ->
    gen_statem:reply([{reply, From, Reply} || From <- Froms]),
    Data#data{restarts = []}.

signal(_Signal, #data{os_pid = undefined}) ->
    ok;
signal(Signal, #data{os_pid = Pid}) ->
    _ = os:cmd("kill -" ++ Signal ++ " " ++ integer_to_list(Pid)),
    ok.

%% ---- what the program says

%% LEVEL EVENT key=value ...; any other line (a library's, a crash message) is a warning.
said({noeol, Part}, #data{cut = <<>>} = Data) ->
    Data#data{cut = Part};
said({noeol, _More}, Data) ->
    Data;
said({eol, _End}, #data{cut = Cut} = Data) when Cut =/= <<>> ->
    said({eol, <<Cut/binary, "...">>}, Data#data{cut = <<>>});
said({eol, Bytes}, #data{name = Name, tail = Tail} = Data) ->
    Line = utf8(Bytes),
    {Level, Text} = level(Line),
    [Event | _] = binary:split(Text, <<" ">>),
    Shown =
        case convex_sidecar_state:is_told(Event) of
            true -> debug;
            false -> Level
        end,
    logger:log(Shown, "~ts", [Text], #{domain => [convex_sidecar], event => Event, instance => Name}),
    Data#data{tail = lists:sublist([Line | Tail], ?TAIL_LINES)}.

level(<<"error ", Text/binary>>) -> {error, Text};
level(<<"warning ", Text/binary>>) -> {warning, Text};
level(<<"info ", Text/binary>>) -> {info, Text};
level(<<"debug ", Text/binary>>) -> {debug, Text};
level(Text) -> {warning, Text}.

utf8(Bytes) ->
    case unicode:characters_to_binary(Bytes) of
        Text when is_binary(Text) -> Text;
        _ -> unicode:characters_to_binary(Bytes, latin1)
    end.

tail(#data{tail = []}) -> "";
tail(#data{tail = Tail}) -> ["; it said: " | lists:join(" | ", lists:reverse(Tail))].

%% The log line that says why the sidecar is down.
down(Level, Event, Why, Next, #data{name = Name}) ->
    convex_sidecar_state:down(Name, Level, Event, {Why, Next}).

log(Level, Event, Format, Args, #data{name = Name}) ->
    convex_sidecar_instance:log(Level, Event, Format, Args, Name).

now_ms() -> erlang:monotonic_time(millisecond).
