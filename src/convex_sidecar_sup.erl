%% convex_sidecar_sup - one instance: its tables, and the processes around them.
%%
%%   state      keeps the state of the sidecar, and reports each change
%%   watch      connects to the node, publishes up and down
%%   port       (managed mode) owns the operating-system process
%%   conveyor   the asynchronous form: gathers, sends batches, handles the answers
%%   sweeper    (option sweep) projects everything once more, when the sidecar asks for it
%%
%% The application that uses it starts it, under a supervisor of its own choice;
%% start-up waits for nothing (the instance is down until the program is ready).
%% rest_for_one: a process that depends on one that crashed restarts with it.
%% The port retries for ever (with back-off), so the restart intensity below only
%% matters for bugs in these modules.
-module(convex_sidecar_sup).
-behaviour(supervisor).

-export([start_link/1, child_spec/1, stop/1, init/1]).

%% @doc Start an instance; options: docs/CLUSTER.md, "Options of an instance".
-spec start_link(convex_sidecar_config:options() | [{atom(), term()}]) ->
    supervisor:startlink_ret() | {error, {bad_option, atom(), binary()}}.
start_link(Options) ->
    case convex_sidecar_config:options(Options) of
        {ok, #{name := Name} = Checked} ->
            supervisor:start_link({local, convex_sidecar_instance:sup_name(Name)}, ?MODULE, Checked);
        {error, _} = Error ->
            Error
    end.

%% @doc A child specification for the application's supervisor.
-spec child_spec(convex_sidecar_config:options() | [{atom(), term()}]) -> supervisor:child_spec().
child_spec(Options) ->
    #{
        id => {convex_sidecar, convex_sidecar_config:name(Options)},
        start => {?MODULE, start_link, [Options]},
        type => supervisor,
        shutdown => infinity
    }.

%% @doc Stop an instance that is not part of a supervision tree, and forget its name.
-spec stop(convex_sidecar_instance:name()) -> ok.
stop(Name) ->
    case whereis(convex_sidecar_instance:sup_name(Name)) of
        undefined ->
            ok;
        Pid ->
            Mref = monitor(process, Pid),
            unlink(Pid),
            exit(Pid, shutdown),
            receive
                {'DOWN', Mref, process, Pid, _} -> ok
            end
    end,
    convex_sidecar_instance:close(Name).

%% @private
-spec init(convex_sidecar_config:checked()) -> {ok, {supervisor:sup_flags(), [supervisor:child_spec()]}}.
init(#{name := Name, mode := Mode, drain_ms := Drain} = Options) ->
    _ = convex_sidecar_instance:open(Name, Options),
    Port = #{
        id => port,
        start => {convex_sidecar_port, start_link, [Options]},
        %% Enough for SIGTERM, the drain and SIGKILL in convex_sidecar_port.
        shutdown => Drain + 5000
    },
    Conveyor = Options#{hand_over => convex_sidecar_batch},
    Children =
        [#{id => state, start => {convex_sidecar_state, start_link, [Options]}}] ++
            [#{id => watch, start => {convex_sidecar_watch, start_link, [Options]}, shutdown => 2000}] ++
            [Port || Mode =:= managed] ++
            [#{id => conveyor, start => {convex_sidecar_conveyor, start_link, [Conveyor]}, shutdown => 5000}] ++
            [#{id => sweeper, start => {convex_sidecar_sweeper, start_link, [Options]}} || maps:get(sweep, Options) =/= undefined],
    {ok, {#{strategy => rest_for_one, intensity => 5, period => 10}, Children}}.
