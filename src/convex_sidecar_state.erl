%% convex_sidecar_state - the state of the sidecar in this VM's memory, and the report of each change.
%%
%% The happy path: the watch says `up'.  {changes, 0} is sent, and answered with the state of delivery; the following
%% {changes, Number} waits until that changes.  Each change is one log line and one call of the module in the option
%% `changed'; the newest state is in a table, where state/1 and convex_sidecar_instance:health/1 read it.
%%
%%   scope      states                              who says so
%%   sidecar    starting, up, down                  watch and port of this VM
%%   endpoint   running, waiting, stopped, paused   the sidecar
%%   kind       running, waiting, stopped           the sidecar, of each kind
%%   mending    running, mending                    the sidecar: what was confirmed is sent again
%%   store      running, stopped                    the sidecar: nothing is taken while its disk fails
%%
%% What can go wrong: the sidecar goes down; its last state is kept, and asked for again when it is back.  It is an
%% older one, which does not know {changes, _}: then only `sidecar' is reported.  A program that ends is first seen
%% as a connection that ends: in managed mode the report waits a moment for the port, which knows the reason.
-module(convex_sidecar_state).
-behaviour(gen_server).

-export([start_link/1, down/4, state/1, is_told/1]).
-export([init/1, handle_call/3, handle_cast/2, handle_info/2]).

-export_type([change/0, shown/0]).

-type scope() :: sidecar | endpoint | kind | mending | store.
-type change() :: #{
    scope := scope(), kind := nil | binary(), state := atom(), was := atom(), why := binary(), next := binary(),
    duration_ms := non_neg_integer()
}.
%% since: erlang:monotonic_time(millisecond).
-type standing() :: #{state := atom(), why := binary(), next := binary(), since := integer()}.
-type shown() :: #{sidecar | endpoint | mending | store | {kind, binary()} => standing()}.

%% Called for each change, in this module's process, so it must be quick.
-callback changed(convex_sidecar_instance:name(), change()) -> term().

-define(AGAIN_MS, 1000).
%% The longest time from the end of a connection to the exit of the program.
-define(CAUSE_MS, 250).

-record(state, {
    info :: convex_sidecar_instance:info(),
    managed :: boolean(),
    module :: undefined | module(),
    shown = #{} :: shown(),
    asked :: undefined | reference(),
    held :: undefined | {reference(), cause()}
}).

-type cause() :: {logger:level(), Event :: binary(), Why :: iodata(), Next :: iodata()}.

-spec start_link(convex_sidecar_config:checked()) -> gen_server:start_ret().
start_link(#{name := Name} = Options) ->
    gen_server:start_link({local, convex_sidecar_instance:state_name(Name)}, ?MODULE, Options, []).

%% @doc Report that the sidecar is down, and why; logged once, in one line.
-spec down(convex_sidecar_instance:name(), logger:level(), binary(), {iodata(), iodata()}) -> ok.
down(Name, Level, Event, {Why, Next}) ->
    gen_server:cast(convex_sidecar_instance:state_name(Name), {down, {Level, Event, Why, Next}}).

%% @doc The state of everything, as this VM last heard it; sends no request.
-spec state(convex_sidecar_instance:name()) -> shown().
state(Name) ->
    convex_sidecar_instance:with_tables(Name, #{}, fun(#{state := Table}) -> ets:lookup_element(Table, shown, 2) end).

%% @doc Whether this module logs that event of the program itself, with what to do about it.
-spec is_told(binary()) -> boolean().
is_told(<<"dispatch.running">>) -> true;
is_told(<<"dispatch.waiting">>) -> true;
is_told(<<"dispatch.stopped">>) -> true;
is_told(<<"dispatch.kind">>) -> true;
is_told(<<"sweep.mended">>) -> true;
is_told(_) -> false.

%% @private
init(#{name := Name, mode := Mode, changed := Module}) ->
    {ok, Info} = convex_sidecar_instance:lookup(Name),
    State = #state{info = Info, managed = Mode =:= managed, module = Module},
    Up = convex_sidecar_instance:is_up(Info),
    _ = Up andalso (self() ! {convex_sidecar, up}),
    {ok, show(maps:merge(first(), state(Name)), State)}.

first() ->
    Now = now_ms(),
    Running = #{state => running, why => <<>>, next => <<>>, since => Now},
    #{sidecar => Running#{state := starting}, endpoint => Running, mending => Running, store => Running}.

%% @private
handle_call(_Other, _From, State) -> {reply, {error, bad_request}, State}.

%% @private
handle_cast({down, {_, <<"node.down">>, _, _} = Cause}, #state{managed = true, held = undefined} = State) ->
    {noreply, State#state{held = {erlang:send_after(?CAUSE_MS, self(), no_cause), Cause}}};
handle_cast({down, Cause}, State) ->
    {noreply, went_down(Cause, unheld(State))};
handle_cast(_Other, State) ->
    {noreply, State}.

%% @private
handle_info(no_cause, State) ->
    {noreply, said_held(State)};
handle_info({convex_sidecar, up}, State) ->
    {noreply, ask(0, came_up(said_held(State)))};
handle_info(again, #state{asked = undefined} = State) ->
    {noreply, ask(0, State)};
handle_info(Message, #state{asked = Asked} = State) when Asked =/= undefined ->
    case convex_sidecar:check_response(Message, Asked) of
        {reply, Reply} -> {noreply, answered(Reply, State#state{asked = undefined})};
        no -> {noreply, State}
    end;
handle_info(_Other, State) ->
    {noreply, State}.

%% ---- up and down

unheld(#state{held = {Timer, _}} = State) ->
    _ = erlang:cancel_timer(Timer),
    State#state{held = undefined};
unheld(State) ->
    State.

said_held(#state{held = {_, Cause}} = State) -> went_down(Cause, unheld(State));
said_held(State) -> State.

%% A sidecar that is already down and fails again gets a log line, but it is not a change.
went_down({Level, Event, Why, Next}, #state{info = #{name := Name}} = State) ->
    Say = fun(_Was) -> log(Level, Event, words(Why, Next), Name) end,
    changed(sidecar, down, text(Why), text(Next), Say, State).

came_up(#state{info = #{name := Name}} = State) ->
    {ok, #{dest := {_, Node}}} = convex_sidecar_instance:lookup(Name),
    Say = fun(Was) -> Was =/= up andalso log(info, <<"node.up">>, io_lib:format("node=~ts", [Node]), Name) end,
    changed(sidecar, up, <<>>, <<>>, Say, State).

words(Why, "") -> Why;
words(Why, Next) -> [Why, "; next: ", Next].

%% ---- what the sidecar says

ask(Seen, #state{info = #{name := Name}, asked = undefined} = State) ->
    case convex_sidecar:send_request(Name, {changes, Seen}) of
        {ok, Asked} -> State#state{asked = Asked};
        {error, unavailable} -> State;
        {error, busy} -> again(State)
    end;
ask(Seen, #state{asked = Asked} = State) ->
    convex_sidecar:abandon(Asked),
    ask(Seen, State#state{asked = undefined}).

again(State) ->
    _ = erlang:send_after(?AGAIN_MS, self(), again),
    State.

answered({ok, #{number := Number} = Stand}, State) ->
    ask(Number, heard(Stand, State));
%% An older sidecar; one that is down is asked when it is back.
answered({error, Reason}, State) when Reason =:= bad_request; Reason =:= unavailable ->
    State;
answered(_Other, State) ->
    again(State).

heard(#{state := Endpoint, why := Why, next := Next, store_ok := IsWell, kinds := Kinds, mending := Mending}, State0) ->
    State1 = hear(endpoint, as_state(Endpoint), Why, Next, State0),
    State2 =
        case IsWell of
            true -> hear(store, running, <<>>, <<>>, State1);
            false -> hear(store, stopped, <<"the store fails: nothing is taken">>, Next, State1)
        end,
    State3 =
        case Mending of
            nil ->
                hear(mending, running, <<>>, <<>>, State2);
            #{why := Doubt} ->
                Text = <<"nothing: what may be gone is sent again; status says how far it is">>,
                hear(mending, mending, Doubt, Text, State2)
        end,
    Well = [{Scope, {running, <<>>, <<>>}} || {kind, _} = Scope <- maps:keys(State3#state.shown)],
    Ill = [{{kind, K}, {as_state(S), W, N}} || #{kind := K, state := S, why := W, next := N} <- Kinds],
    maps:fold(fun(Scope, {S, W, N}, State) -> hear(Scope, S, W, N, State) end, State3, maps:from_list(Well ++ Ill)).

hear(Scope, Is, Why, Next, #state{info = #{name := Name}} = State) ->
    Say = fun(Was) ->
        Words = [of_kind(Scope, Is), Was, Why, Next],
        Was =/= Is andalso
            log(level(Is), event(Scope, Is), io_lib:format("~tswas=~ts why=\"~ts\" next=\"~ts\"", Words), Name)
    end,
    changed(Scope, Is, Why, Next, Say, State).

as_state(<<"running">>) -> running;
as_state(<<"stopped">>) -> stopped;
as_state(<<"paused">>) -> paused;
as_state(_) -> waiting.

event(endpoint, Is) -> <<"delivery.", (atom_to_binary(Is))/binary>>;
event({kind, _}, _) -> <<"delivery.kind">>;
event(mending, mending) -> <<"delivery.mending">>;
event(mending, running) -> <<"delivery.mended">>;
event(store, stopped) -> <<"store.failing">>;
event(store, running) -> <<"store.well">>.

of_kind({kind, Kind}, Is) -> io_lib:format("kind=~ts state=~ts ", [convex_sidecar_instance:word(Kind), Is]);
of_kind(_, _) -> "".

level(stopped) -> error;
level(waiting) -> warning;
level(mending) -> warning;
level(_) -> info.

%% ---- a change

%% The table is updated before the change is reported.
changed(Scope, Is, Why, Next, Say, #state{shown = Shown} = State) ->
    Now = now_ms(),
    #{state := Was, since := Since} = maps:get(Scope, Shown, #{state => running, since => Now}),
    Standing = #{state => Is, why => Why, next => Next, since => if Was =:= Is -> Since; true -> Now end},
    Showing = show(Shown#{Scope => Standing}, State),
    _ = Say(Was),
    _ = Was =/= Is andalso tell(Scope, Was, Standing, Now - Since, State),
    Showing.

show(Shown, #state{info = #{state := Table}} = State) ->
    ets:insert(Table, {shown, Shown}),
    State#state{shown = Shown}.

tell(_Scope, _Was, _Standing, _Ms, #state{module = undefined}) ->
    ok;
tell(Scope, Was, #{state := Is, why := Why, next := Next}, Ms, #state{module = Module, info = #{name := Name}}) ->
    {Which, Kind} =
        case Scope of
            {kind, Of} -> {kind, Of};
            _ -> {Scope, nil}
        end,
    Change = #{scope => Which, kind => Kind, state => Is, was => Was, why => Why, next => Next, duration_ms => Ms},
    try
        Module:changed(Name, Change)
    catch
        Class:Reason ->
            log(error, <<"state.not_told">>, io_lib:format("~ts: ~0tp:~0tp", [Module, Class, Reason]), Name)
    end.

text(Text) -> unicode:characters_to_binary(Text).

log(Level, Event, Text, Name) -> convex_sidecar_instance:log(Level, Event, "~ts", [Text], Name).

now_ms() -> erlang:monotonic_time(millisecond).
