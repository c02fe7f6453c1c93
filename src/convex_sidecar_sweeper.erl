%% convex_sidecar_sweeper - offers the sidecar to project everything once more, and does so when it is asked.
%%
%% The happy path: {sweep, #{vm => Name}} is sent as soon as the sidecar is up, and waits.  No answer
%% arrives, since what was confirmed is still in Convex.
%%
%% When a deployment was wiped, restored or swapped, the sidecar answers one VM with a number: all
%% entities are marked, as at the start (project_all_async), and what is not doubtful is answered
%% `idempotent'.  Meanwhile the offer is repeated with `running', so that the sidecar knows this VM is
%% alive; when none of these marks is left, it is sent with `done'.
%%
%% What can go wrong: the sidecar goes down; the offer is repeated each second, with what is running or
%% done, so that a restarted sidecar does not ask for a sweep that is under way.  This VM ends, or this
%% process fails: the sidecar asks another VM, or this one again.
-module(convex_sidecar_sweeper).
-behaviour(gen_server).

-export([start_link/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2]).

%% What can be swept.
-callback sources(convex_sidecar_instance:name()) -> [{convex_sidecar:kind(), convex_sidecar:source()}].
%% A sweep begins or is done.  `why' is the sidecar's sentence.
-callback told(convex_sidecar_instance:name(), started | done, #{
    sweep := pos_integer(), why := binary(), duration_ms := non_neg_integer()
}) -> term().
-optional_callbacks([told/3]).

-define(AGAIN_MS, 1000).
-define(LOOK_MS, 500).
%% Consecutive checks that find nothing left: a mark may be moving from one table to the other.
-define(LOOKS, 2).

-record(sweep, {
    number :: pos_integer(),
    why :: binary(),
    sources :: [convex_sidecar:source()],
    started_at :: integer(),
    looks = 0 :: non_neg_integer()
}).

-record(state, {
    name :: convex_sidecar_instance:name(),
    module :: module(),
    offer :: undefined | reference(),
    sweep :: undefined | #sweep{},
    done = 0 :: non_neg_integer()
}).

-spec start_link(#{name := convex_sidecar_instance:name(), sweep := module(), _ => _}) -> gen_server:start_ret().
start_link(#{name := Name, sweep := Module}) ->
    gen_server:start_link({local, convex_sidecar_instance:sweeper_name(Name)}, ?MODULE, {Name, Module}, []).

%% @private
init({Name, Module}) -> {ok, #state{name = Name, module = Module}, {continue, offer}}.

%% @private
handle_continue(offer, State) -> {noreply, offer(State)}.

%% @private
handle_call(_Other, _From, State) -> {reply, {error, bad_request}, State}.

%% @private
handle_cast(_Other, State) -> {noreply, State}.

%% @private
handle_info(offer, #state{offer = undefined} = State) ->
    {noreply, offer(State)};
handle_info(look, #state{sweep = #sweep{}} = State) ->
    {noreply, look(State)};
handle_info(Message, #state{offer = Offer} = State) when Offer =/= undefined ->
    case convex_sidecar:check_response(Message, Offer) of
        {reply, Reply} -> {noreply, answered(Reply, State#state{offer = undefined})};
        no -> {noreply, State}
    end;
handle_info(_Other, State) ->
    {noreply, State}.

%% ---- the offer

offer(#state{name = Name} = State) ->
    case convex_sidecar:send_request(Name, {sweep, words(State)}) of
        {ok, Offer} -> State#state{offer = Offer};
        {error, _} -> again(State)
    end.

words(#state{name = Name, sweep = Sweep, done = Done}) ->
    Running =
        case Sweep of
            #sweep{number = Number} -> Number;
            undefined -> 0
        end,
    #{vm => iolist_to_binary(io_lib:format("~ts/~ts", [node(), Name])), running => Running, done => Done}.

again(State) ->
    _ = erlang:send_after(?AGAIN_MS, self(), offer),
    State#state{offer = undefined}.

answered({ok, #{sweep := Number, why := Why}}, #state{sweep = #sweep{number = Number} = Sweep} = State) ->
    offer(State#state{sweep = Sweep#sweep{why = Why}});
answered({ok, #{sweep := Number, why := Why}}, State) ->
    offer(start(Number, Why, State));
%% The sidecar went down, or is an older one.
answered(_Other, State) ->
    again(State).

%% ---- the sweep

start(Number, Why, #state{name = Name, module = Module} = State) ->
    Sources = Module:sources(Name),
    _ = [ok = convex_sidecar:project_all_async(Name, Kind, Source) || {Kind, Source} <- Sources],
    Sweep = #sweep{
        number = Number, why = Why, sources = lists:usort([Source || {_, Source} <- Sources]), started_at = now_ms()
    },
    log(debug, <<"sweep.started">>, Sweep, State),
    tell(started, Sweep, State),
    State#state.sweep =:= undefined andalso erlang:send_after(?LOOK_MS, self(), look),
    State#state{sweep = Sweep}.

look(#state{name = Name, sweep = #sweep{sources = Sources, looks = Looks} = Sweep} = State) ->
    case lists:any(fun(Source) -> convex_sidecar_marks:has_any(Name, Source) end, Sources) of
        false when Looks + 1 >= ?LOOKS ->
            ended(State);
        Left ->
            _ = erlang:send_after(?LOOK_MS, self(), look),
            State#state{sweep = Sweep#sweep{looks = if Left -> 0; true -> Looks + 1 end}}
    end.

ended(#state{sweep = #sweep{number = Number} = Sweep, offer = Offer} = State) ->
    log(debug, <<"sweep.done">>, Sweep, State),
    tell(done, Sweep, State),
    Offer =/= undefined andalso convex_sidecar:abandon(Offer),
    Done = State#state{sweep = undefined, done = Number, offer = undefined},
    case Offer of
        undefined -> Done;
        _ -> offer(Done)
    end.

tell(What, #sweep{number = Number, why = Why, started_at = At}, #state{name = Name, module = Module}) ->
    case erlang:function_exported(Module, told, 3) of
        true -> Module:told(Name, What, #{sweep => Number, why => Why, duration_ms => now_ms() - At});
        false -> ok
    end.

log(Level, Event, #sweep{number = Number, why = Why}, #state{name = Name}) ->
    convex_sidecar_instance:log(Level, Event, "number=~b why=\"~ts\"", [Number, Why], Name).

now_ms() -> erlang:monotonic_time(millisecond).
