%% convex_sidecar_conveyor - the asynchronous form: gathered, batched, acknowledged.
%%
%% The happy path: a process that appended an event marks the entity dirty (an
%% insert into a public table; the first mark after a rest also wakes this
%% process).  The conveyor takes up to batch_limit entities, reads each one's row
%% and new events through its source, sends one {batch, ...} and, when the answer
%% is `ok', forgets the entity.  What is marked meanwhile is the next batch, so an
%% idle conveyor answers at once and a busy one sends full batches.  The next batch
%% is gathered while the sidecar works on the one before; an entity is in one of
%% them at a time.  Batches that are not full keep a pace: each costs the disk a
%% synced commit, and it may be the disk that the event log is synced to.
%%
%% What can go wrong, for one entity:
%%   gap                the events from the expected one on go with the next batch
%%   the source raises  it waits a second, doubling to thirty, then is dirty again
%%   anything else      refused for good: logged, told to the source, forgotten
%%                      (the next event of that entity tries again)
%% and for all: the sidecar is down, busy, draining, silent, or its disk fails.
%% Then the batch is dirty again, and sent after a pause (doubling), or as soon as
%% the sidecar is up.  A batch that is refused as a whole, or that a connection
%% dies under, is halved, so that one bad entity cannot hold up the others.
%%
%% Nothing grows without bound: the mailbox holds wake-ups only; marks are one per
%% entity and at most dirty_limit, beyond which the kind is flagged for a sweep
%% (all ids of the source are looked at, in pages, when the table is empty).
%%
%% Why a mark is never lost: an entity is copied to `flight' before its mark is
%% deleted, its mark is deleted before its events are read, and flight is emptied
%% into dirty when this process starts anew.  The tables are the supervisor's.
-module(convex_sidecar_conveyor).
-behaviour(gen_server).

-export([start_link/1, mark/4, mark_all/3, settle/2, backlog/1, is_passing/1]).
-export([init/1, handle_continue/2, handle_call/3, handle_cast/2, handle_info/2, terminate/2]).

%% Slot 2 of the instance's flags: 1 when the conveyor sleeps and wants to be woken.
-define(IDLE, 2).
-define(MAX_EVENTS, 20000).
-define(MAX_GAPS, 3).
-define(RETRY_MIN_MS, 50).
-define(RETRY_MAX_MS, 5000).
-define(LATER_MIN_MS, 1000).
-define(LATER_MAX_MS, 30000).
-define(HEAP_WORDS, 131072).
%% Of the time the supervisor gives at the end.
-define(LAST_MS, 3000).
-define(SWEEP_PAGE, 1000).
%% Batches under way at once: one in the sidecar, one on its way.
-define(WINDOW, 2).
%% At least so long from one batch to the next, unless it is full.
-define(PACE_MS, 5).
%% Of these in one batch, the event log is taken to be ill, and the rest left for later.
-define(MAX_FAILURES, 3).

%% Instead of a kind: the item is a whole sweep, {?SWEEP, {Kind, Source}}.
-define(SWEEP, '$sweep').

-record(item, {
    key ::
        {convex_sidecar:kind(), convex_sidecar:entity_id()}
        | {?SWEEP, {convex_sidecar:kind(), convex_sidecar:source()}},
    source :: convex_sidecar:source(),
    request :: undefined | convex_sidecar:request(),
    last :: undefined | pos_integer(),
    more = false :: boolean(),
    events = 0 :: non_neg_integer(),
    taken_at :: integer()
}).

-record(sweep, {
    key :: {convex_sidecar:kind(), convex_sidecar:source()},
    ids = [] :: [convex_sidecar:entity_id()],
    last = undefined :: undefined | convex_sidecar:entity_id()
}).

%% A batch under way; `keys' are those of its items.
-record(flight, {
    mref :: reference(),
    timer :: reference(),
    items :: [#item{}],
    keys :: #{term() => true}
}).

-record(state, {
    %% fixed
    name :: convex_sidecar_instance:name(),
    info :: convex_sidecar_instance:info(),
    batch_limit :: pos_integer(),
    request_ms :: pos_integer(),
    %% resting: a batch was refused, or the sidecar is away; nothing is sent for a while.
    phase = ready :: ready | {resting, reference()},
    flights = [] :: [#flight{}],
    limit :: pos_integer(),
    rest_ms = ?RETRY_MIN_MS :: pos_integer(),
    pace_ms = ?PACE_MS :: non_neg_integer(),
    sent_at :: integer(),
    pace_timer :: undefined | reference(),
    %% where the next marks are taken from
    cursor = start :: start | term(),
    sweep :: undefined | #sweep{},
    %% sources that raised since the last batch was gathered
    failures = 0 :: non_neg_integer(),
    gaps = #{} :: #{{convex_sidecar:kind(), convex_sidecar:entity_id()} => pos_integer()},
    later = [] :: [#item{}],
    later_timer :: undefined | reference(),
    later_ms = ?LATER_MIN_MS :: pos_integer(),
    settling = [] :: [gen_server:from()]
}).

-spec start_link(convex_sidecar_config:checked()) -> gen_server:start_ret().
start_link(#{name := Name} = Options) ->
    %% A heap for a whole batch: gathering one into a small heap is collected again and again.
    gen_server:start_link(
        {local, convex_sidecar_instance:conveyor_name(Name)},
        ?MODULE,
        Options,
        [{spawn_opt, [{min_heap_size, ?HEAP_WORDS}]}]
    ).

%% @doc The entity has changed.  Runs in the caller; never waits.
-spec mark(convex_sidecar_instance:name(), convex_sidecar:kind(), convex_sidecar:entity_id(),
    convex_sidecar:source()) -> ok | {error, unavailable}.
mark(Name, Kind, Id, Source) ->
    with_tables(Name, fun(#{dirty := Dirty, dirty_limit := Limit} = Info) ->
        case ets:info(Dirty, size) < Limit of
            true -> ets:insert_new(Dirty, {{Kind, Id}, Source}) andalso wake(Info);
            false -> ets:member(Dirty, {Kind, Id}) orelse sweep(Info, Kind, Source, pending)
        end
    end).

%% @doc Every entity of the kind may have changed, or may never have been handed over.
-spec mark_all(convex_sidecar_instance:name(), convex_sidecar:kind(), convex_sidecar:source()) ->
    ok | {error, unavailable}.
mark_all(Name, Kind, Source) ->
    with_tables(Name, fun(Info) -> sweep(Info, Kind, Source, asked) end).

with_tables(Name, Fun) ->
    case convex_sidecar_instance:lookup(Name) of
        {ok, Info} ->
            try
                _ = Fun(Info),
                ok
            catch
                %% The instance was stopped: its tables are gone.
                error:badarg -> {error, unavailable}
            end;
        error ->
            {error, unavailable}
    end.

%% `pending' over `sweeping': the sweep that is under way may have passed this id.
sweep(#{sweeps := Sweeps} = Info, Kind, Source, Why) ->
    ets:insert(Sweeps, {{Kind, Source}, Why}),
    wake(Info).

wake(#{name := Name, flags := Flags}) ->
    case atomics:compare_exchange(Flags, ?IDLE, 1, 0) of
        ok ->
            case whereis(convex_sidecar_instance:conveyor_name(Name)) of
                undefined -> ok;
                Pid -> Pid ! wake
            end;
        _ ->
            ok
    end.

%% @doc Wait until nothing is left to do.
-spec settle(convex_sidecar_instance:name(), timeout()) -> ok | {error, timeout | unavailable}.
settle(Name, Timeout) ->
    try
        gen_server:call(convex_sidecar_instance:conveyor_name(Name), settle, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, unavailable}
    end.

-spec backlog(convex_sidecar_instance:name()) ->
    #{dirty := non_neg_integer(), in_flight := non_neg_integer(), sweeps := non_neg_integer()}.
backlog(Name) ->
    Size = fun(Table, Info) ->
        case ets:info(maps:get(Table, Info), size) of
            undefined -> 0;
            N -> N
        end
    end,
    case convex_sidecar_instance:lookup(Name) of
        {ok, Info} ->
            #{dirty => Size(dirty, Info), in_flight => Size(flight, Info), sweeps => Size(sweeps, Info)};
        error ->
            #{dirty => 0, in_flight => 0, sweeps => 0}
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
init(#{name := Name, batch_limit := Limit, request_ms := RequestMs}) ->
    process_flag(trap_exit, true),
    {ok, #{flags := Flags, flight := Flight} = Info} = convex_sidecar_instance:lookup(Name),
    atomics:put(Flags, ?IDLE, 0),
    _ = [dirty_again(Key, Source, Info) || {Key, Source} <- ets:tab2list(Flight)],
    State = #state{
        name = Name,
        info = Info,
        batch_limit = Limit,
        request_ms = RequestMs,
        limit = Limit,
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
        {value, #flight{mref = Mref, items = Items}, Others} ->
            convex_sidecar:abandon(Mref),
            {noreply, step(answered({error, timeout}, Items, State#state{flights = Others}))};
        false ->
            {noreply, State}
    end;
handle_info({timeout, Timer, later}, #state{later_timer = Timer, later = Later, info = Info} = State) ->
    _ = [dirty_again(Key, Source, Info) || #item{key = Key, source = Source} <- Later],
    {noreply, step(State#state{later = [], later_timer = undefined})};
handle_info(Message, #state{flights = Flights} = State) ->
    case take_response(Message, Flights) of
        {Reply, #flight{timer = Timer, items = Items} = Flight} ->
            _ = erlang:cancel_timer(Timer),
            {noreply, step(answered(Reply, Items, State#state{flights = lists:delete(Flight, Flights)}))};
        none ->
            {noreply, State}
    end.

take_response(_Message, []) ->
    none;
take_response(Message, [#flight{mref = Mref} = Flight | Flights]) ->
    case convex_sidecar:check_response(Message, Mref) of
        {reply, Reply} -> {Reply, Flight};
        no -> take_response(Message, Flights)
    end.

%% @private
%% An orderly end hands over what is left, if that goes at once.
terminate(_Reason, #state{info = Info} = State) ->
    Deadline = now_ms() + ?LAST_MS,
    _ = last_push(step(State#state{pace_ms = 0}), Deadline),
    case ets:info(maps:get(dirty, Info), size) + ets:info(maps:get(flight, Info), size) of
        0 -> ok;
        Left -> log(warning, <<"conveyor.unsent">>, "entities=~b", [Left], State)
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

step(#state{phase = ready, flights = Flights, info = Info} = State0) when length(Flights) < ?WINDOW ->
    case convex_sidecar_instance:is_up(Info) of
        false ->
            case has_work(State0) of
                true -> rest(State0);
                false -> sleep(State0)
            end;
        true ->
            case ahead_ms(State0) of
                0 -> push(gather(State0));
                Ms -> paced(Ms, State0)
            end
    end;
step(State) ->
    State.

push({Items, #state{flights = Flights} = State}) ->
    case {Items, has_work(State)} of
        %% The rest is under way: its answer leads here again.
        {[], _} when Flights =/= [] -> State;
        {[], false} -> sleep(State);
        %% Everything taken was no more, or failed in its source.
        {[], true} when State#state.failures =:= 0 -> step(State);
        {[], true} -> rest(State);
        {_, _} -> send(Items, State)
    end.

%% How long a batch that is not full has still to wait.
ahead_ms(#state{sweep = undefined, info = #{dirty := Dirty, sweeps := Sweeps}, limit = Limit} = State) ->
    case ets:info(Dirty, size) of
        Size when Size > 0, Size < Limit ->
            case ets:info(Sweeps, size) of
                0 -> max(0, State#state.sent_at + State#state.pace_ms - now_ms());
                _ -> 0
            end;
        _ ->
            0
    end;
ahead_ms(_Sweeping) ->
    0.

paced(Ms, #state{pace_timer = undefined} = State) ->
    State#state{pace_timer = erlang:start_timer(Ms, self(), paced)};
paced(_Ms, State) ->
    State.

has_work(#state{info = #{dirty := Dirty, sweeps := Sweeps}, sweep = Sweep}) ->
    Sweep =/= undefined orelse ets:info(Dirty, size) > 0 orelse ets:info(Sweeps, size) > 0.

%% With a batch under way its answer is what wakes.
sleep(#state{flights = [_ | _]} = State) ->
    State;
%% The flag goes up before the last look: a mark that came before it is seen here, one
%% that came after it sends a wake-up.
sleep(#state{info = #{flags := Flags}} = State) ->
    atomics:put(Flags, ?IDLE, 1),
    case has_work(State) andalso atomics:compare_exchange(Flags, ?IDLE, 1, 0) of
        ok -> step(State);
        _ -> settled(well(State))
    end.

%% All done and nothing failed: the next failure waits the short time again.
well(#state{later = []} = State) -> State#state{later_ms = ?LATER_MIN_MS};
well(State) -> State.

settled(#state{settling = []} = State) ->
    State;
settled(#state{phase = ready, flights = [], later = [], settling = Settling} = State) ->
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

send(Items, #state{name = Name, request_ms = RequestMs, flights = Flights} = State) ->
    Requests = [Request || #item{request = Request} <- Items],
    case convex_sidecar:send_request(Name, {batch, Requests}) of
        {ok, Mref} ->
            Timer = erlang:start_timer(RequestMs, self(), silent),
            Sent = [Item#item{request = undefined} || Item <- Items],
            Keys = maps:from_keys([Key || #item{key = Key} <- Items], true),
            Flight = #flight{mref = Mref, timer = Timer, items = Sent, keys = Keys},
            step(State#state{flights = Flights ++ [Flight], sent_at = now_ms()});
        {error, Reason} ->
            _ = back(Items, State),
            noted(Reason, State),
            rest(State)
    end.

%% ---- gathering

gather(#state{limit = Limit} = State0) ->
    {Marks, State1} = take_marks(State0#state{failures = 0}),
    {N, Events, Items, State2} = build_all(Marks, {Limit, ?MAX_EVENTS, [], State1}),
    {Gathered, State} =
        case has_marks(State2) of
            true -> {Items, State2};
            false -> gather_sweep(N, Events, State2, Items)
        end,
    {lists:reverse(Gathered), State}.

%% Marks that are one too many, or that follow on an event log that is ill, are dirty again.
build_all([{Key, Source} = Mark | Marks], {N, Events, Items, #state{failures = Failures, info = Info} = State}) ->
    case Events =< 0 orelse Failures >= ?MAX_FAILURES of
        true ->
            _ = [dirty_again(K, S, Info) || {K, S} <- [Mark | Marks]],
            {0, 0, Items, State};
        false ->
            build_all(Marks, built(build(Key, Source, State), N, Events, Items))
    end;
build_all([], Built) ->
    Built.

built({#item{events = Count} = Item, State}, N, Events, Items) -> {N - 1, Events - Count, [Item | Items], State};
built({none, State}, N, Events, Items) -> {N - 1, Events, Items, State}.

gather_sweep(N, Events, #state{failures = Failures} = State, Items) when
    N =< 0; Events =< 0; Failures >= ?MAX_FAILURES
->
    {Items, State};
gather_sweep(N, Events, State0, Items) ->
    case take_from_sweep(State0) of
        {none, State} ->
            {Items, State};
        {again, State} ->
            gather_sweep(N - 1, Events, State, Items);
        {Key, Source, State} ->
            {M, Left, More, Built} = built(build(Key, Source, State), N, Events, Items),
            gather_sweep(M, Left, Built, More)
    end.

%% Up to a batch of marks from the cursor on, round and round, so that entities marked again and
%% again do not starve the others.  What is under way stays where it is.
take_marks(#state{cursor = start} = State) ->
    take_marks(1, State, []);
take_marks(State) ->
    take_marks(2, State, []).

%% `Ends': so often may the end of the table be reached.
take_marks(Ends, #state{limit = Limit} = State, Taken) ->
    case next_marks(State) of
        {Marks, Cursor} ->
            Free = [Mark || {Key, _} = Mark <- Marks, not is_under_way(Key, State)],
            {Some, Enough} = up_to(Limit - length(Taken), Free),
            ok = take_off(Some, State),
            Next = State#state{cursor = Cursor},
            case Enough of
                true -> {Taken ++ Some, Next};
                false -> take_marks(Ends, Next, Taken ++ Some)
            end;
        '$end_of_table' when Ends > 1 ->
            take_marks(Ends - 1, State#state{cursor = start}, Taken);
        '$end_of_table' ->
            {Taken, State#state{cursor = start}}
    end.

%% The cursor of an ordered_set is its last key: marks may come and go meanwhile.
next_marks(#state{cursor = start, limit = Limit, info = #{dirty := Dirty}}) ->
    ets:select(Dirty, [{'_', [], ['$_']}], Limit);
next_marks(#state{cursor = Cursor}) ->
    ets:select(Cursor).

up_to(N, List) when length(List) >= N -> {lists:sublist(List, N), true};
up_to(_N, List) -> {List, false}.

take_off(Marks, #state{info = #{dirty := Dirty, flight := Flight}}) ->
    true = ets:insert(Flight, Marks),
    lists:foreach(fun({Key, _}) -> ets:delete(Dirty, Key) end, Marks).

has_marks(#state{info = #{dirty := Dirty}}) -> ets:info(Dirty, size) > 0.

is_under_way(Key, #state{flights = Flights}) ->
    lists:any(fun(#flight{keys = Keys}) -> is_map_key(Key, Keys) end, Flights).

take_from_sweep(#state{sweep = undefined, info = #{sweeps := Sweeps}} = State) ->
    case ets:first(Sweeps) of
        '$end_of_table' ->
            {none, State};
        {Kind, _} = Key ->
            [{_, Why}] = ets:lookup(Sweeps, Key),
            ets:insert(Sweeps, {Key, sweeping}),
            Level =
                case Why of
                    asked -> info;
                    _ -> warning
                end,
            log(Level, <<"conveyor.sweep">>, "kind=~ts all entities are looked at", [Kind], State),
            take_from_sweep(State#state{sweep = #sweep{key = Key}})
    end;
take_from_sweep(#state{sweep = #sweep{key = {Kind, Source}, ids = [Id | Ids]} = Sweep} = State) ->
    #state{info = #{dirty := Dirty, flight := Flight}} = State,
    Key = {Kind, Id},
    Swept = State#state{sweep = Sweep#sweep{ids = Ids, last = Id}},
    case is_under_way(Key, State) of
        true ->
            ets:insert_new(Dirty, {Key, Source}),
            {again, Swept};
        false ->
            ets:insert(Flight, {Key, Source}),
            {Key, Source, Swept}
    end;
take_from_sweep(#state{sweep = #sweep{key = {Kind, {Module, Arg}} = Key, last = Last} = Sweep} = State) ->
    try Module:ids(Kind, Last, ?SWEEP_PAGE, Arg) of
        [] ->
            #state{info = #{sweeps := Sweeps}} = State,
            %% Not when it has become `pending' meanwhile: then it starts anew.
            ets:delete_object(Sweeps, {Key, sweeping}),
            log(info, <<"conveyor.swept">>, "kind=~ts", [Kind], State),
            {again, State#state{sweep = undefined}};
        Ids ->
            take_from_sweep(State#state{sweep = Sweep#sweep{ids = Ids}})
    catch
        Class:Reason ->
            source_failed(Class, Reason, Kind, <<"*">>, State),
            {none, later_sweep(State)}
    end.

%% A sweep whose source fails starts anew with the other failures.
later_sweep(#state{sweep = #sweep{key = Key}, info = #{sweeps := Sweeps}} = State) ->
    State1 = put_later_sweep(Key, State),
    ets:delete(Sweeps, Key),
    State1#state{sweep = undefined}.

put_later_sweep({_Kind, Source} = Key, #state{info = #{flight := Flight}} = State) ->
    Whole = {?SWEEP, Key},
    ets:insert(Flight, {Whole, Source}),
    case lists:keymember(Whole, #item.key, State#state.later) of
        true -> State;
        false -> put_later(#item{key = Whole, source = Source, taken_at = now_ms()}, State)
    end.

build({Kind, Id} = Key, Source, #state{name = Name} = State) ->
    Item = #item{key = Key, source = Source, taken_at = now_ms()},
    From = convex_sidecar_instance:hint(Name, Kind, Id),
    try convex_sidecar_source:read(Source, Kind, Id, From) of
        {ok, #{row := Row, events := Events, last := Last, more := More, options := Options}} ->
            Request = {project, Kind, Id, Row, Events, wanted(Source, Options)},
            {Item#item{request = Request, last = Last, more = More, events = length(Events)}, State};
        not_found ->
            {none, given_up(not_found, Item, State)}
    catch
        Class:Reason ->
            source_failed(Class, Reason, Kind, Id, State),
            {none, put_later(Item, State#state{failures = State#state.failures + 1})}
    end.

%% Nobody hears the result: then the sidecar need not make it, nor this process read it.
wanted({Module, _}, Options) ->
    case erlang:function_exported(Module, done, 5) of
        true -> Options;
        false -> Options#{return => none}
    end.

%% The entity stays in flight until its time comes.
put_later(Item, #state{later_timer = undefined, later_ms = Ms} = State) ->
    Timer = erlang:start_timer(Ms, self(), later),
    put_later(Item, State#state{later_timer = Timer, later_ms = min(Ms * 2, ?LATER_MAX_MS)});
put_later(#item{key = {?SWEEP, _}} = Item, #state{later = Later} = State) ->
    State#state{later = [Item | Later]};
put_later(#item{key = {Kind, _} = Key, source = Source} = Item, #state{later = Later, info = Info} = State) ->
    #{dirty_limit := Limit, flight := Flight} = Info,
    case ets:info(Flight, size) > Limit of
        true ->
            ets:delete(Flight, Key),
            put_later_sweep({Kind, Source}, State);
        false ->
            State#state{later = [Item | Later]}
    end.

%% ---- answers

answered({ok, Replies}, Items, State0) when length(Replies) =:= length(Items) ->
    #state{limit = Limit, batch_limit = Max} = State0,
    State1 = State0#state{limit = min(Limit * 2, Max)},
    {State2, Passing} = lists:foldl(fun item_answered/2, {State1, none}, lists:zip(Replies, Items)),
    remember(Replies, Items, State2),
    case Passing of
        none ->
            State2#state{rest_ms = ?RETRY_MIN_MS};
        Reason ->
            noted(Reason, State2),
            rest(State2)
    end;
answered({error, Reason}, Items, #state{limit = Limit} = State0) ->
    State = State0#state{limit = max(1, Limit div 2)},
    case {is_passing(Reason), Items} of
        {false, [Item]} ->
            given_up(Reason, Item, State);
        {_, _} ->
            _ = back(Items, State),
            noted(Reason, State),
            rest(State)
    end;
answered(_Nonsense, Items, State) ->
    answered({error, {store, bad_reply}}, Items, State).

item_answered({ok, #item{more = More} = Item}, {State, Passing}) ->
    {kept(More, Item, State), Passing};
item_answered({{ok, Result} = Ok, #item{more = More} = Item}, {State, Passing}) ->
    tell(Item, Ok, State),
    %% A page of a long history, or a row handed over beside another process's (see
    %% convex_sidecar_source): look once more.
    Again = More orelse maps:get(reason, Result, nil) =:= <<"summary_hash_mismatch">>,
    {kept(Again, Item, State), Passing};
item_answered({{error, {gap, Expected, _} = Gap}, #item{key = {Kind, Id} = Key} = Item}, {State, Passing}) when
    is_integer(Expected), Expected > 0
->
    #state{name = Name, info = Info, gaps = Gaps} = State,
    case maps:get(Key, Gaps, 0) + 1 of
        N when N > ?MAX_GAPS ->
            convex_sidecar_instance:forget(Name, Kind, Id),
            {given_up(Gap, Item, State), Passing};
        N ->
            convex_sidecar_instance:remember(Name, Kind, Id, Expected - 1),
            dirty_again(Key, Item#item.source, Info),
            {State#state{gaps = Gaps#{Key => N}}, Passing}
    end;
item_answered({{error, Reason}, #item{key = Key, source = Source} = Item}, {State, Passing}) ->
    case is_passing(Reason) of
        true ->
            dirty_again(Key, Source, State#state.info),
            {State, Reason};
        false ->
            {given_up(Reason, Item, State), Passing}
    end;
item_answered({_Nonsense, Item}, Acc) ->
    item_answered({{error, bad_reply}, Item}, Acc).

kept(Again, #item{key = Key, source = Source}, #state{info = Info} = State) ->
    case Again of
        true -> dirty_again(Key, Source, Info);
        false -> landed(Key, Info)
    end,
    without_gap(Key, State).

without_gap(Key, #state{gaps = Gaps} = State) when is_map_key(Key, Gaps) ->
    State#state{gaps = maps:remove(Key, Gaps)};
without_gap(_Key, State) ->
    State.

%% What the sidecar has folded, for all that it has kept.
remember(Replies, Items, #state{name = Name}) ->
    convex_sidecar_instance:remember(Name, last_kept(Replies, Items)).

last_kept([Reply | Replies], [#item{key = Key, last = Last} | Items]) when
    is_integer(Last), (Reply =:= ok orelse element(1, Reply) =:= ok)
->
    [{Key, Last} | last_kept(Replies, Items)];
last_kept([_ | Replies], [_ | Items]) ->
    last_kept(Replies, Items);
last_kept([], []) ->
    [].

back(Items, #state{info = Info}) ->
    [dirty_again(Key, Source, Info) || #item{key = Key, source = Source} <- Items].

dirty_again({?SWEEP, Key} = Whole, _Source, #{sweeps := Sweeps, flight := Flight}) ->
    ets:insert(Sweeps, {Key, pending}),
    ets:delete(Flight, Whole);
dirty_again(Key, Source, #{dirty := Dirty, flight := Flight}) ->
    ets:insert_new(Dirty, {Key, Source}),
    ets:delete(Flight, Key).

landed(Key, #{flight := Flight}) -> ets:delete(Flight, Key).

given_up(Reason, #item{key = {Kind, Id} = Key} = Item, #state{info = Info} = State) ->
    log(error, <<"conveyor.refused">>, "kind=~ts id=~ts reason=~0tp", [Kind, Id, Reason], State),
    tell(Item, {error, Reason}, State),
    landed(Key, Info),
    without_gap(Key, State).

tell(#item{key = {Kind, Id}, source = {Module, Arg}, taken_at = TakenAt}, Outcome, State) ->
    case erlang:function_exported(Module, done, 5) of
        true ->
            try
                Module:done(Kind, Id, Outcome, now_ms() - TakenAt, Arg)
            catch
                Class:Reason -> source_failed(Class, Reason, Kind, Id, State)
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

source_failed(Class, Reason, Kind, Id, State) ->
    log(error, <<"conveyor.source_failed">>, "kind=~ts id=~ts ~ts:~0tp", [Kind, Id, Class, Reason], State).

log(Level, Event, Format, Args, #state{name = Name}) ->
    logger:log(Level, "~ts instance=~ts " ++ Format, [Event, Name | Args], #{
        domain => [convex_sidecar], event => Event, instance => Name
    }).

now_ms() -> erlang:monotonic_time(millisecond).
