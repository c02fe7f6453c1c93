%% convex_sidecar_conveyor - the asynchronous form: gathered, batched, acknowledged.
%%
%% The happy path: convex_sidecar_marks says which entities have changed.  The conveyor
%% takes up to batch_limit of them, makes a request of each, hands them over as one batch
%% and, when the answer is `ok', the batch is settled.
%% What is marked meanwhile is the next batch, so an idle conveyor answers at once and
%% a busy one sends full batches.  The next batch is gathered while the sidecar works
%% on the one before.  Batches that are not full keep a pace: each costs the disk a
%% synced commit, and it may be the disk that the event log is synced to.
%%
%% How a batch is handed over is a callback: to the sidecar (convex_sidecar_batch), or to a
%% sink that is called in this VM (OpenAgentsRuntime.Convex.SinkQueue: batches of one entity,
%% several of them at once).
%%
%% What can go wrong, for one entity:
%%   gap                the events from the expected one on go with the next batch
%%   the source raises  it waits a second, doubling to thirty, then is marked again
%%   anything else      refused for good: logged, told to the source, forgotten
%%                      (the next event of that entity tries again)
%% and for all: the sidecar is down, busy, draining, silent, or its disk fails.
%% Then the batch is marked again, and sent after a pause (doubling), or as soon as
%% the sidecar is up.  A batch that is refused as a whole, or that a connection
%% dies under, is halved, so that one bad entity cannot hold up the others.
%%
%% The mailbox holds wake-ups and answers only.
-module(convex_sidecar_conveyor).
-behaviour(gen_server).

-export([start_link/1, settle/2, is_passing/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

-define(MAX_EVENTS, 20000).
-define(MAX_GAPS, 3).
-define(RETRY_MIN_MS, 50).
-define(RETRY_MAX_MS, 5000).
-define(LATER_MIN_MS, 1000).
-define(LATER_MAX_MS, 30000).
%% Room for a whole batch: gathering one into a small heap is collected again and again.
-define(ENTITY_WORDS, 256).
-define(MAX_WORDS, 131072).
%% Of the time the supervisor gives at the end.
-define(LAST_MS, 3000).
%% At least so long from one batch to the next, unless it is full.
-define(PACE_MS, 5).
%% Of these in one batch, the event log is taken to be ill, and the rest left for later.
-define(MAX_FAILURES, 3).

-export_type([options/0, request/0]).

-type options() :: #{
    name := convex_sidecar_instance:name(),
    hand_over := module(),
    batch_limit := pos_integer(),
    request_ms := pos_integer() | infinity,
    _ => _
}.
%% `last': the event that the other side has folded when it has taken the request; `more': whether
%% the entity has to be looked at again then; `events': how many go over.
-type request() :: #{
    request := term(), last := undefined | pos_integer(), more := boolean(), events := non_neg_integer()
}.

%% How many batches may be under way at once.
-callback window() -> pos_integer().
%% What is to be handed over of one entity.  Raising means: ask again later.
-callback request(convex_sidecar_marks:mark(), convex_sidecar_instance:info()) -> {ok, request()} | not_found.
%% The requests of those of the marks that are better read together; the others are asked for one by one.
-callback read_ahead([convex_sidecar_marks:mark()], convex_sidecar_instance:info()) ->
    #{convex_sidecar_marks:mark() => {ok, request()} | not_found}.
-optional_callbacks([read_ahead/2]).
%% Begin to hand a batch over; its answer comes as a message with this reference.
-callback hand_over(convex_sidecar_instance:name(), [Request :: term()]) -> {ok, reference()} | {error, term()}.
%% Whether a message is that answer: one for each request, or why the whole batch failed.
-callback answer(Message :: term(), reference()) ->
    {reply, {ok, [ok | {ok, convex_sidecar:result()} | {error, term()}]} | {error, term()}} | no.

-record(item, {
    mark :: convex_sidecar_marks:mark(),
    request :: term(),
    last :: undefined | pos_integer(),
    more = false :: boolean(),
    taken_at :: integer()
}).

%% A batch on its way.
-record(flight, {
    mref :: reference(),
    timer :: undefined | reference(),
    batch :: convex_sidecar_marks:batch(),
    items :: [#item{}]
}).

-record(state, {
    %% fixed
    name :: convex_sidecar_instance:name(),
    info :: convex_sidecar_instance:info(),
    hand_over :: module(),
    batch_limit :: pos_integer(),
    request_ms :: pos_integer() | infinity,
    %% resting: a batch was refused, or the sidecar is away; nothing is sent for a while.
    phase = ready :: ready | {resting, reference()},
    flights = [] :: [#flight{}],
    limit :: pos_integer(),
    rest_ms = ?RETRY_MIN_MS :: pos_integer(),
    pace_ms = ?PACE_MS :: non_neg_integer(),
    sent_at :: integer(),
    pace_timer :: undefined | reference(),
    marks :: convex_sidecar_marks:marks(),
    %% sources that raised since the last batch was gathered
    failures = 0 :: non_neg_integer(),
    gaps = #{} :: #{convex_sidecar_marks:key() => pos_integer()},
    later_timer :: undefined | reference(),
    later_ms = ?LATER_MIN_MS :: pos_integer(),
    settling = [] :: [gen_server:from()]
}).

-spec start_link(options()) -> gen_server:start_ret().
start_link(#{name := Name, batch_limit := Limit} = Options) ->
    gen_server:start_link(
        {local, convex_sidecar_instance:conveyor_name(Name)},
        ?MODULE,
        Options,
        [{spawn_opt, [{min_heap_size, min(Limit * ?ENTITY_WORDS, ?MAX_WORDS)}]}]
    ).

%% @doc Wait until nothing is left to do.
-spec settle(convex_sidecar_instance:name(), timeout()) -> ok | {error, timeout | unavailable}.
settle(Name, Timeout) ->
    try
        gen_server:call(convex_sidecar_instance:conveyor_name(Name), settle, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, unavailable}
    end.

%% @doc Whether a request that failed so may succeed when it is sent again later.
-spec is_passing(term()) -> boolean().
is_passing(busy) -> true;
is_passing(unavailable) -> true;
is_passing(timeout) -> true;
is_passing(draining) -> true;
is_passing({store, _}) -> true;
is_passing(_) -> false.

%% ---- the process

%% @private
init(#{name := Name, hand_over := HandOver, batch_limit := Limit, request_ms := RequestMs}) ->
    process_flag(trap_exit, true),
    {ok, Info} = convex_sidecar_instance:lookup(Name),
    State = #state{
        name = Name,
        info = Info,
        hand_over = HandOver,
        batch_limit = Limit,
        request_ms = RequestMs,
        limit = Limit,
        marks = convex_sidecar_marks:open(Info),
        sent_at = now_ms() - ?PACE_MS
    },
    {ok, State, {continue, step}}.

%% @private
handle_continue(step, State) -> {noreply, step(State)}.

%% @private
handle_call(settle, From, #state{settling = Settling} = State) ->
    {noreply, settled(State#state{settling = [From | Settling]})};
handle_call(_Other, _From, State) ->
    {reply, {error, bad_request}, State}.

%% @private
handle_cast(_Other, State) -> {noreply, State}.

%% @private
handle_info(wake, State) ->
    {noreply, step(State)};
handle_info({convex_sidecar, up}, #state{phase = {resting, Timer}} = State) ->
    _ = erlang:cancel_timer(Timer),
    {noreply, step(State#state{phase = ready, rest_ms = ?RETRY_MIN_MS})};
handle_info({timeout, Timer, rested}, #state{phase = {resting, Timer}} = State) ->
    {noreply, step(State#state{phase = ready})};
handle_info({timeout, Timer, paced}, #state{pace_timer = Timer} = State) ->
    {noreply, step(State#state{pace_timer = undefined})};
handle_info({timeout, Timer, silent}, #state{flights = Flights} = State) ->
    case lists:keytake(Timer, #flight.timer, Flights) of
        {value, #flight{mref = Mref} = Flight, Others} ->
            convex_sidecar:abandon(Mref),
            {noreply, step(answered({error, timeout}, Flight, State#state{flights = Others}))};
        false ->
            {noreply, State}
    end;
handle_info({timeout, Timer, later}, #state{later_timer = Timer, marks = Marks} = State) ->
    {noreply, step(State#state{marks = convex_sidecar_marks:later_again(Marks), later_timer = undefined})};
handle_info(Message, #state{flights = Flights, hand_over = HandOver} = State) ->
    case take_answer(Message, Flights, HandOver) of
        {Reply, #flight{timer = Timer} = Flight} ->
            _ = end_silence(Timer),
            {noreply, step(answered(Reply, Flight, State#state{flights = lists:delete(Flight, Flights)}))};
        none ->
            {noreply, State}
    end.

take_answer(_Message, [], _HandOver) ->
    none;
take_answer(Message, [#flight{mref = Mref} = Flight | Flights], HandOver) ->
    case HandOver:answer(Message, Mref) of
        {reply, Reply} -> {Reply, Flight};
        no -> take_answer(Message, Flights, HandOver)
    end.

%% @private
%% An orderly end hands over what is left, if that goes at once.
terminate(_Reason, #state{name = Name} = State) ->
    Deadline = now_ms() + ?LAST_MS,
    _ = last_push(step(State#state{pace_ms = 0}), Deadline),
    case convex_sidecar_marks:backlog(Name) of
        #{dirty := 0, in_flight := 0, sweeps := 0} -> ok;
        #{dirty := Dirty, in_flight := Flight, sweeps := Sweeps} ->
            log(warning, <<"conveyor.unsent">>, "entities=~b sweeps=~b", [Dirty + Flight, Sweeps], State)
    end.

last_push(#state{flights = [_ | _]} = State, Deadline) ->
    receive
        Message ->
            {noreply, Next} = handle_info(Message, State),
            last_push(Next, Deadline)
    after max(0, Deadline - now_ms()) -> State
    end;
last_push(State, _Deadline) ->
    State.

%% ---- one step: send what there is room for, or rest, or sleep

step(#state{phase = ready, flights = Flights, hand_over = HandOver} = State) ->
    case length(Flights) < HandOver:window() of
        true -> step_ready(State);
        %% The next answer looks again.
        false -> State
    end;
step(State) ->
    State.

step_ready(#state{info = Info} = State) ->
    case convex_sidecar_instance:is_up(Info) of
        false ->
            case has_work(State) of
                true -> rest(State);
                false -> sleep(State)
            end;
        true ->
            case ahead_ms(State) of
                0 -> push(gather(State));
                Ms -> paced(Ms, State)
            end
    end.

push({Batch, [], State0}) ->
    #state{flights = Flights, marks = Marks} = State = settle_batch(Batch, State0),
    case Flights =:= [] andalso convex_sidecar_marks:has_work(Marks) of
        %% Everything taken was no more, or failed in its source.
        true when State#state.failures =:= 0 -> step(State);
        true -> rest(State);
        false -> sleep(State)
    end;
push({Batch, Items, State}) ->
    send(Batch, Items, State).

settle_batch(Batch, #state{marks = Marks} = State) ->
    State#state{marks = convex_sidecar_marks:settle(Batch, Marks)}.

%% How long a batch that is not full has still to wait.
ahead_ms(#state{marks = Marks, limit = Limit, sent_at = SentAt, pace_ms = Pace}) ->
    Count = convex_sidecar_marks:count(Marks),
    case Count =:= 0 orelse Count >= Limit orelse convex_sidecar_marks:is_sweeping(Marks) of
        true -> 0;
        false -> max(0, SentAt + Pace - now_ms())
    end.

paced(Ms, #state{pace_timer = undefined} = State) ->
    State#state{pace_timer = erlang:start_timer(Ms, self(), paced)};
paced(_Ms, State) ->
    State.

has_work(#state{marks = Marks}) -> convex_sidecar_marks:has_work(Marks).

%% With a batch under way its answer is what wakes, and the next batch grows until then.
sleep(#state{flights = [_ | _], batch_limit = Limit} = State) when Limit > 1 ->
    State;
sleep(#state{marks = Marks} = State) ->
    case convex_sidecar_marks:doze(Marks) of
        true -> settled(well(State));
        false -> step(State)
    end.

%% All done and nothing failed: the next failure waits the short time again.
well(#state{later_timer = undefined} = State) -> State#state{later_ms = ?LATER_MIN_MS};
well(State) -> State.

settled(#state{settling = []} = State) ->
    State;
settled(#state{phase = ready, flights = [], later_timer = undefined, settling = Settling} = State) ->
    case has_work(State) of
        true ->
            State;
        false ->
            _ = [gen_server:reply(From, ok) || From <- Settling],
            State#state{settling = []}
    end;
settled(State) ->
    State.

rest(#state{phase = {resting, _}} = State) ->
    State;
rest(#state{rest_ms = Ms} = State) ->
    %% Up and down a little, so that many VMs do not come back together.
    Timer = erlang:start_timer(Ms div 2 + rand:uniform(Ms), self(), rested),
    State#state{phase = {resting, Timer}, rest_ms = min(Ms * 2, ?RETRY_MAX_MS)}.

send(Batch, Items, #state{name = Name, hand_over = HandOver, request_ms = Ms, flights = Flights} = State) ->
    case HandOver:hand_over(Name, [Request || #item{request = Request} <- Items]) of
        {ok, Mref} ->
            Timer = start_silence(Ms),
            Sent = [Item#item{request = undefined} || Item <- Items],
            Flight = #flight{mref = Mref, timer = Timer, batch = Batch, items = Sent},
            step(State#state{flights = Flights ++ [Flight], sent_at = now_ms()});
        {error, Reason} ->
            back(Items, State),
            noted(Reason, State),
            rest(settle_batch(Batch, State))
    end.

start_silence(infinity) -> undefined;
start_silence(Ms) -> erlang:start_timer(Ms, self(), silent).

end_silence(undefined) -> false;
end_silence(Timer) -> erlang:cancel_timer(Timer).

%% ---- gathering

gather(#state{limit = Limit, marks = Marks0} = State0) ->
    {Batch, Taken, Marks} = convex_sidecar_marks:take(Limit, Marks0),
    State1 = State0#state{marks = Marks, failures = 0},
    {Items, State} = build_all(Taken, read_ahead(Taken, State1), Batch, ?MAX_EVENTS, [], State1),
    {Batch, Items, waiting(State)}.

%% An event log that fails for all of them may do for most of them one by one.
read_ahead(Taken, #state{name = Name, info = Info, hand_over = HandOver}) ->
    try
        case erlang:function_exported(HandOver, read_ahead, 2) of
            true -> HandOver:read_ahead(Taken, Info);
            false -> #{}
        end
    catch
        Class:Reason ->
            convex_sidecar_source:failed(Class, Reason, <<"*">>, <<"*">>, Name),
            #{}
    end.

%% What is too much for one batch, or follows on an event log that is ill, is given back.
build_all([], _Read, _Batch, _Events, Items, State) ->
    {lists:reverse(Items), State};
build_all(Left, _Read, Batch, Events, Items, #state{failures = Failures, marks = Marks} = State) when
    Events =< 0; Failures >= ?MAX_FAILURES
->
    {lists:reverse(Items), State#state{marks = convex_sidecar_marks:give_back(Left, Batch, Marks)}};
build_all([Mark | Left], Read, Batch, Events, Items, State0) ->
    case build(Mark, Read, State0) of
        {#item{} = Item, Count, State} -> build_all(Left, Read, Batch, Events - Count, [Item | Items], State);
        {none, State} -> build_all(Left, Read, Batch, Events, Items, State)
    end.

build({{Kind, Id}, _} = Mark, Read, #state{name = Name, marks = Marks} = State) ->
    Item = #item{mark = Mark, taken_at = now_ms()},
    try request(Mark, Read, State) of
        {ok, #{request := Request, last := Last, more := More, events := Count}} ->
            {Item#item{request = Request, last = Last, more = More}, Count, State};
        not_found ->
            {none, given_up(not_found, Item, State)}
    catch
        Class:Reason ->
            convex_sidecar_source:failed(Class, Reason, Kind, Id, Name),
            Failures = State#state.failures + 1,
            {none, State#state{marks = convex_sidecar_marks:later(Mark, Marks), failures = Failures}}
    end.

request(Mark, Read, _State) when is_map_key(Mark, Read) -> maps:get(Mark, Read);
request(Mark, _Read, #state{info = Info, hand_over = HandOver}) -> HandOver:request(Mark, Info).

%% What waits because its source raised has its time.
waiting(#state{later_timer = undefined, later_ms = Ms, marks = Marks} = State) ->
    case convex_sidecar_marks:has_later(Marks) of
        true ->
            Timer = erlang:start_timer(Ms, self(), later),
            State#state{later_timer = Timer, later_ms = min(Ms * 2, ?LATER_MAX_MS)};
        false ->
            State
    end;
waiting(State) ->
    State.

%% ---- answers

%% Whatever the answer is, each entity of the batch is kept, refused or marked again behind it.
answered(Reply, #flight{batch = Batch, items = Items}, State0) ->
    settle_batch(Batch, replied(Reply, Items, State0)).

replied({ok, Replies}, Items, #state{name = Name, limit = Limit, batch_limit = Max} = State0) when
    length(Replies) =:= length(Items)
->
    {State, Folded, Passing} = item_answers(Replies, Items, [], none, State0#state{limit = min(Limit * 2, Max)}),
    convex_sidecar_instance:remember(Name, Folded),
    case Passing of
        none ->
            State#state{rest_ms = ?RETRY_MIN_MS};
        Reason ->
            noted(Reason, State),
            rest(State)
    end;
replied({error, Reason}, Items, #state{limit = Limit} = State0) ->
    State = State0#state{limit = max(1, Limit div 2)},
    case {is_passing(Reason), Items} of
        {false, [Item]} ->
            given_up(Reason, Item, State);
        {_, _} ->
            back(Items, State),
            noted(Reason, State),
            rest(State)
    end;
replied(_Nonsense, Items, State) ->
    replied({error, {store, bad_reply}}, Items, State).

%% `Folded': what the sidecar has now, entity by entity; `Passing': why some have to be sent again.
item_answers([ok | Replies], [#item{mark = {Key, _}, last = Last, more = false} | Items], Folded, Passing, State) when
    map_size(State#state.gaps) =:= 0
->
    item_answers(Replies, Items, folded(Key, Last, Folded), Passing, State);
item_answers([Reply | Replies], [#item{mark = {Key, _} = Mark, last = Last} = Item | Items], Folded, Passing, State0) ->
    case item_answer(Reply, Item, State0) of
        {kept, State} -> item_answers(Replies, Items, folded(Key, Last, Folded), Passing, State);
        {done, State} -> item_answers(Replies, Items, Folded, Passing, State);
        {again, Reason} ->
            convex_sidecar_marks:again(Mark, State0#state.marks),
            item_answers(Replies, Items, Folded, Reason, State0)
    end;
item_answers([], [], Folded, Passing, State) ->
    {State, Folded, Passing}.

folded(_Key, undefined, Folded) -> Folded;
folded(Key, Last, Folded) -> [{Key, Last} | Folded].

item_answer(ok, #item{more = More} = Item, State) ->
    {kept, kept(More, Item, State)};
item_answer({ok, Result} = Ok, #item{more = More} = Item, State) ->
    tell(Item, Ok, State),
    %% A page of a long history, or a row handed over beside another process's (see
    %% convex_sidecar_source): look once more.
    Again = More orelse maps:get(reason, Result, nil) =:= <<"summary_hash_mismatch">>,
    {kept, kept(Again, Item, State)};
item_answer({error, {gap, Expected, _} = Gap}, #item{mark = {{Kind, Id} = Key, _} = Mark} = Item, State) when
    is_integer(Expected), Expected > 0
->
    #state{name = Name, marks = Marks, gaps = Gaps} = State,
    case maps:get(Key, Gaps, 0) + 1 of
        N when N > ?MAX_GAPS ->
            convex_sidecar_instance:forget(Name, Kind, Id),
            {done, given_up(Gap, Item, State)};
        N ->
            convex_sidecar_instance:remember(Name, Kind, Id, Expected - 1),
            convex_sidecar_marks:again(Mark, Marks),
            {done, State#state{gaps = Gaps#{Key => N}}}
    end;
item_answer({error, Reason}, Item, State) ->
    case is_passing(Reason) of
        true -> {again, Reason};
        false -> {done, given_up(Reason, Item, State)}
    end;
item_answer(_Nonsense, Item, State) ->
    item_answer({error, bad_reply}, Item, State).

kept(Again, #item{mark = {Key, _} = Mark}, #state{marks = Marks} = State) ->
    _ = Again andalso convex_sidecar_marks:again(Mark, Marks),
    without_gap(Key, State).

without_gap(Key, #state{gaps = Gaps} = State) when is_map_key(Key, Gaps) ->
    State#state{gaps = maps:remove(Key, Gaps)};
without_gap(_Key, State) ->
    State.

back(Items, #state{marks = Marks}) ->
    lists:foreach(fun(#item{mark = Mark}) -> convex_sidecar_marks:again(Mark, Marks) end, Items).

%% A row that has gone is no fault, and the call's form says nothing of it either.
given_up(not_found, #item{mark = {{Kind, Id} = Key, _}} = Item, State) ->
    log(debug, <<"conveyor.gone">>, "kind=~ts id=~ts", [Kind, convex_sidecar_instance:word(Id)], State),
    tell(Item, {error, not_found}, State),
    without_gap(Key, State);
given_up(Reason, #item{mark = {{Kind, Id} = Key, _}} = Item, State) ->
    Args = [Kind, convex_sidecar_instance:word(Id), Reason],
    log(error, <<"conveyor.refused">>, "kind=~ts id=~ts reason=~0tp", Args, State),
    tell(Item, {error, Reason}, State),
    without_gap(Key, State).

tell(#item{mark = {{Kind, Id}, {Module, Arg}}, taken_at = TakenAt}, Outcome, #state{name = Name}) ->
    case erlang:function_exported(Module, done, 5) of
        true ->
            try
                Module:done(Kind, Id, Outcome, now_ms() - TakenAt, Arg)
            catch
                Class:Reason -> convex_sidecar_source:failed(Class, Reason, Kind, Id, Name)
            end;
        false ->
            ok
    end.

%% ---- words

noted(Reason, #state{rest_ms = ?RETRY_MIN_MS} = State) ->
    %% Once a spell: the pause is at its shortest only at the first failure.
    log(warning, <<"conveyor.waiting">>, "reason=~0tp", [Reason], State);
noted(_Reason, _State) ->
    ok.

log(Level, Event, Format, Args, #state{name = Name}) ->
    convex_sidecar_instance:log(Level, Event, Format, Args, Name).

now_ms() -> erlang:monotonic_time(millisecond).
