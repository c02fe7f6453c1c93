%% convex_sidecar_conveyor - the asynchronous form: gathers marked entities, sends them in batches, handles the answers.
%%
%% The happy path: convex_sidecar_marks says which entities have changed.  The conveyor
%% takes up to batch_limit of them, makes a request for each, hands them over as one batch,
%% and settles the batch when the answer is `ok'.
%% What is marked meanwhile forms the next batch, so an idle conveyor sends at once and
%% a busy one sends full batches.  The next batch is gathered while the sidecar works
%% on the previous one.  Batches that are not full keep a minimum interval: each costs a
%% synced commit, possibly on the disk that the event log is synced to.
%%
%% How a batch is handed over is a callback: to the sidecar (convex_sidecar_batch), or to a
%% sink that is called in this VM (OpenAgentsRuntime.Convex.SinkQueue: batches of one entity,
%% several at once).
%%
%% What can go wrong, for one entity:
%%   gap                the events from the expected one on go with the next batch
%%   the source raises  it waits a second, doubling to thirty, then is marked again
%%   anything else      refused for good: logged, reported to the source, forgotten
%%                      (the next event of that entity tries again)
%% and for all: the sidecar is down, busy, draining, silent, or its disk fails.
%% Then the batch is marked again, and sent after a pause (doubling), or as soon as
%% the sidecar is up.  A batch that is refused as a whole, or that is lost with its
%% connection, is halved, so that one bad entity cannot hold up the others.
%%
%% Each entity that was handed over is read again later, since its row may change after its last event and a
%% transaction may end after it was read: convex_sidecar_looks says when.
%%
%% States:
%% dozing     nothing to send; the next mark wakes it
%% gathering  there are marks, but nothing may be sent before an answer arrives or the interval is over
%% resting    something was refused, or the sidecar is down: a pause, or until it is up
%%
%% All other events are handled in every state.  The mailbox holds only wake-ups and answers.
-module(convex_sidecar_conveyor).
-behaviour(gen_statem).

-export([start_link/1, settle/2]).
-export([init/1, callback_mode/0, handle_event/4, terminate/3]).

-define(MAX_EVENTS, 20000).
-define(MAX_GAPS, 3).
-define(RETRY_MIN_MS, 50).
-define(RETRY_MAX_MS, 5000).
-define(LATER_MIN_MS, 1000).
-define(LATER_MAX_MS, 30000).
%% The heap holds a whole batch: in a small one, gathering causes one garbage collection after another.
-define(ENTITY_WORDS, 256).
-define(MAX_WORDS, 131072).
%% How much of the supervisor's shutdown time the last batches may take.
-define(LAST_MS, 3000).
%% The minimum interval between batches, unless one is full.
-define(PACE_MS, 5).
%% After so many failures in one batch the event log is taken to be failing, and the rest is left for later.
-define(MAX_FAILURES, 3).

-export_type([options/0, request/0]).

-type options() :: #{
    name := convex_sidecar_instance:name(),
    hand_over := module(),
    batch_limit := pos_integer(),
    request_ms := pos_integer() | infinity,
    _ => _
}.
%% `last': the last event that the receiver has folded once it has accepted the request; `more': whether
%% the entity has to be read again then; `events': how many the request carries.
-type request() :: #{
    request := term(),
    last := undefined | pos_integer(),
    more := boolean(),
    events := non_neg_integer(),
    %% what the next look compares with; without it there is none
    seen => convex_sidecar_looks:seen()
}.

%% How many batches may be under way at once.
-callback window() -> pos_integer().
%% The request for one entity.  Raising means: ask again later.
-callback request(convex_sidecar_marks:mark(), convex_sidecar_instance:info()) -> {ok, request()} | not_found.
%% The requests for those marks that are better read together; request/2 is called for each of the others.
-callback read_ahead([convex_sidecar_marks:mark()], convex_sidecar_instance:info()) ->
    #{convex_sidecar_marks:mark() => {ok, request()} | not_found}.
%% The same request, with leave to go below the seq of the current document.
-callback below(Request :: term()) -> Request :: term().
-optional_callbacks([read_ahead/2, below/1]).
%% Start handing a batch over; its answer arrives as a message with this reference.
-callback hand_over(convex_sidecar_instance:name(), [Request :: term()]) -> {ok, reference()} | {error, term()}.
%% Check whether a message is that answer: one for each request, or why the whole batch failed.
-callback answer(Message :: term(), reference()) ->
    {reply, {ok, [ok | {ok, convex_sidecar:result()} | {error, term()}]} | {error, term()}} | no.

-record(item, {
    mark :: convex_sidecar_marks:mark(),
    request :: term(),
    last :: undefined | pos_integer(),
    more = false :: boolean(),
    seen = undefined :: convex_sidecar_looks:seen(),
    %% it was marked as changed, so it is looked at again
    marked :: boolean(),
    taken_at :: integer()
}).

%% A batch that is under way.
-record(flight, {
    mref :: reference(),
    batch :: convex_sidecar_marks:batch(),
    items :: [#item{}]
}).

-record(data, {
    %% fixed
    name :: convex_sidecar_instance:name(),
    info :: convex_sidecar_instance:info(),
    hand_over :: module(),
    batch_limit :: pos_integer(),
    request_ms :: pos_integer() | infinity,
    flights = [] :: [#flight{}],
    limit :: pos_integer(),
    rest_ms = ?RETRY_MIN_MS :: pos_integer(),
    pace_ms = ?PACE_MS :: non_neg_integer(),
    sent_at :: integer(),
    marks :: convex_sidecar_marks:marks(),
    looks :: convex_sidecar_looks:looks(),
    %% what the timeout `look' was set for
    look_for = none :: term(),
    %% entities whose log has been shorter than the fold for long enough
    below = #{} :: #{convex_sidecar_marks:mark() => true},
    %% when gathering of the last batch began, and how many sources have raised since
    gathered_at = 0 :: integer(),
    failures = 0 :: non_neg_integer(),
    gaps = #{} :: #{convex_sidecar_marks:key() => pos_integer()},
    %% the timeout `later' is set
    waits = false :: boolean(),
    later_ms = ?LATER_MIN_MS :: pos_integer(),
    settling = [] :: [gen_statem:from()],
    %% for gen_statem, once the event is handled
    actions = [] :: [gen_statem:action()]
}).

-spec start_link(options()) -> gen_statem:start_ret().
start_link(#{name := Name, batch_limit := Limit} = Options) ->
    gen_statem:start_link(
        {local, convex_sidecar_instance:conveyor_name(Name)},
        ?MODULE,
        Options,
        [{spawn_opt, [{min_heap_size, min(Limit * ?ENTITY_WORDS, ?MAX_WORDS)}]}]
    ).

%% @doc Wait until nothing is left to do.
-spec settle(convex_sidecar_instance:name(), timeout()) -> ok | {error, timeout | unavailable}.
settle(Name, Timeout) ->
    try
        gen_statem:call(convex_sidecar_instance:conveyor_name(Name), settle, Timeout)
    catch
        exit:{timeout, _} -> {error, timeout};
        exit:_ -> {error, unavailable}
    end.

%% ---- the process

%% @private
callback_mode() -> handle_event_function.

%% @private
init(#{name := Name, hand_over := HandOver, batch_limit := Limit, request_ms := RequestMs} = Options) ->
    process_flag(trap_exit, true),
    {ok, Info} = convex_sidecar_instance:lookup(Name),
    Data = #data{
        name = Name,
        info = Info,
        hand_over = HandOver,
        batch_limit = Limit,
        request_ms = RequestMs,
        limit = Limit,
        marks = convex_sidecar_marks:open(Info),
        looks = convex_sidecar_looks:open(Info),
        sent_at = now_ms() - ?PACE_MS
    },
    Changes = [changes(Ms) || #{look_back_ms := Ms} <- [Options], Ms > 0],
    {ok, gathering, Data, [{next_event, internal, step} | Changes]}.

%% Ten times within the period that is looked back over.
changes(LookBack) -> {{timeout, changes}, max(1, LookBack div 10), LookBack}.

%% @private
handle_event(Type, Content, State, Data) ->
    {Next, #data{actions = Actions} = Then} = looking(settled(event(Type, Content, State, Data))),
    {next_state, Next, Then#data{actions = []}, lists:reverse(Actions)}.

event(internal, step, State, Data) ->
    step(State, Data);
event({call, From}, settle, State, #data{settling = Settling} = Data) ->
    {State, Data#data{settling = [From | Settling]}};
event({call, From}, _Other, State, Data) ->
    {State, action({reply, From, {error, bad_request}}, Data)};
event(cast, _Other, State, Data) ->
    {State, Data};
event(info, wake, State, Data) ->
    step(State, Data);
event(info, {convex_sidecar, up}, resting, Data) ->
    step(gathering, Data#data{rest_ms = ?RETRY_MIN_MS});
event(state_timeout, rested, resting, Data) ->
    step(gathering, Data);
event({timeout, pace}, _, State, Data) ->
    step(State, Data);
event({timeout, look}, _, State, Data) ->
    look(State, Data#data{look_for = none});
event({timeout, changes}, LookBack, State, #data{marks = Marks} = Data) ->
    convex_sidecar_marks:sweep_changed(LookBack, Marks),
    step(State, action(changes(LookBack), Data));
event({timeout, later}, _, State, #data{marks = Marks} = Data) ->
    step(State, Data#data{marks = convex_sidecar_marks:later_again(Marks), waits = false});
event({timeout, {silent, Mref}}, _, State, #data{flights = Flights} = Data) ->
    {value, Flight, Others} = lists:keytake(Mref, #flight.mref, Flights),
    convex_sidecar:abandon(Mref),
    answered({error, timeout}, Flight, State, Data#data{flights = Others});
event(info, Message, State, #data{flights = Flights, hand_over = HandOver} = Data) ->
    case take_answer(Message, Flights, HandOver) of
        {Reply, #flight{mref = Mref} = Flight} ->
            Others = lists:delete(Flight, Flights),
            answered(Reply, Flight, State, heard(Mref, Data#data{flights = Others}));
        none ->
            {State, Data}
    end.

take_answer(_Message, [], _HandOver) ->
    none;
take_answer(Message, [#flight{mref = Mref} = Flight | Flights], HandOver) ->
    case HandOver:answer(Message, Mref) of
        {reply, Reply} -> {Reply, Flight};
        no -> take_answer(Message, Flights, HandOver)
    end.

action(Action, #data{actions = Actions} = Data) -> Data#data{actions = [Action | Actions]}.

%% @private
%% An orderly shutdown hands over what is left, if that is possible at once.
terminate(_Reason, State, #data{name = Name} = Data) ->
    Deadline = now_ms() + ?LAST_MS,
    _ = last_push(step(State, Data#data{pace_ms = 0}), Deadline),
    case convex_sidecar_marks:backlog(Name) of
        #{dirty := 0, in_flight := 0, sweeps := 0} -> ok;
        #{dirty := Dirty, in_flight := Flight, sweeps := Sweeps} ->
            log(warning, <<"conveyor.unsent">>, "entities=~b sweeps=~b", [Dirty + Flight, Sweeps], Data)
    end.

last_push({State, #data{flights = [_ | _]} = Data}, Deadline) ->
    receive
        Message -> last_push(event(info, Message, State, Data), Deadline)
    after max(0, Deadline - now_ms()) -> {State, Data}
    end;
last_push(At, _Deadline) ->
    At.

%% ---- one step: send what may be sent, or rest, or doze

step(State, #data{looks = Looks} = Data) ->
    send_or_wait(State, Data#data{looks = convex_sidecar_looks:asked(Looks)}).

send_or_wait(resting, Data) ->
    {resting, Data};
send_or_wait(_State, #data{flights = Flights, hand_over = HandOver} = Data) ->
    case length(Flights) < HandOver:window() of
        true -> step_ready(Data);
        %% The next answer triggers the next step.
        false -> {gathering, Data}
    end.

step_ready(#data{info = Info, marks = Marks} = Data) ->
    case convex_sidecar_instance:is_up(Info) of
        false ->
            case convex_sidecar_marks:has_work(Marks) of
                true -> rest(Data);
                false -> doze(Data)
            end;
        true ->
            case ahead_ms(Data) of
                0 -> push(gather(Data));
                Ms -> {gathering, action({{timeout, pace}, Ms, pace}, Data)}
            end
    end.

push({Batch, [], Data0}) ->
    #data{flights = Flights, marks = Marks} = Data = settle_batch(Batch, Data0),
    case Flights =:= [] andalso convex_sidecar_marks:has_work(Marks) of
        %% Everything taken no longer exists, or failed in its source.
        true when Data#data.failures =:= 0 -> step(gathering, Data);
        true -> rest(Data);
        false -> doze(Data)
    end;
push({Batch, Items, Data}) ->
    send(Batch, Items, Data).

settle_batch(Batch, #data{marks = Marks} = Data) ->
    Data#data{marks = convex_sidecar_marks:settle(Batch, Marks)}.

%% How much longer a batch that is not full has to wait.
ahead_ms(#data{marks = Marks, limit = Limit, sent_at = SentAt, pace_ms = Pace}) ->
    Count = convex_sidecar_marks:count(Marks),
    case Count =:= 0 orelse Count >= Limit orelse convex_sidecar_marks:is_sweeping(Marks) of
        true -> 0;
        false -> max(0, SentAt + Pace - now_ms())
    end.

%% While a batch is under way its answer wakes the conveyor; the next batch grows until then.
doze(#data{flights = [_ | _], batch_limit = Limit} = Data) when Limit > 1 ->
    {gathering, Data};
doze(#data{marks = Marks, looks = Looks} = Data) ->
    case convex_sidecar_marks:doze(Marks) andalso not convex_sidecar_looks:has_asked(Looks) of
        true -> {dozing, well(Data)};
        false -> step(gathering, Data)
    end.

%% All done and nothing failed: the next failure starts with the shortest pause again.
well(#data{waits = false} = Data) -> Data#data{later_ms = ?LATER_MIN_MS};
well(Data) -> Data.

settled({State, #data{flights = [], waits = false, settling = [_ | _] = Settling, marks = Marks} = Data} = At) ->
    case State =/= resting andalso not convex_sidecar_marks:has_work(Marks) of
        true -> {State, lists:foldl(fun(From, D) -> action({reply, From, ok}, D) end, Data#data{settling = []}, Settling)};
        false -> At
    end;
settled(At) ->
    At.

rest(#data{rest_ms = Ms} = Data) ->
    %% Jitter, so that many VMs do not come back at the same moment.
    Timeout = {state_timeout, Ms div 2 + rand:uniform(Ms), rested},
    {resting, action(Timeout, Data#data{rest_ms = min(Ms * 2, ?RETRY_MAX_MS)})}.

send(Batch, Items, #data{name = Name, hand_over = HandOver, flights = Flights} = Data) ->
    case HandOver:hand_over(Name, [Request || #item{request = Request} <- Items]) of
        {ok, Mref} ->
            Sent = [Item#item{request = undefined} || Item <- Items],
            Flight = #flight{mref = Mref, batch = Batch, items = Sent},
            step(gathering, listen(Mref, Data#data{flights = Flights ++ [Flight], sent_at = now_ms()}));
        {error, Reason} ->
            back(Items, Data),
            noted(Reason, Data),
            rest(settle_batch(Batch, Data))
    end.

listen(_Mref, #data{request_ms = infinity} = Data) -> Data;
listen(Mref, #data{request_ms = Ms} = Data) -> action({{timeout, {silent, Mref}}, Ms, silent}, Data).

heard(_Mref, #data{request_ms = infinity} = Data) -> Data;
heard(Mref, Data) -> action({{timeout, {silent, Mref}}, cancel}, Data).

%% ---- gathering

gather(#data{limit = Limit, marks = Marks0} = Data0) ->
    {Batch, Marked, Swept, Marks} = convex_sidecar_marks:take(Limit, Marks0),
    Data1 = Data0#data{marks = Marks, gathered_at = now_ms(), failures = 0},
    Taken = [{Mark, true} || Mark <- Marked] ++ [{Mark, false} || Mark <- Swept],
    {Items, Data} = build_all(Taken, read_ahead(Marked ++ Swept, Data1), Batch, ?MAX_EVENTS, [], Data1),
    {Batch, Items, waiting(Data)}.

%% An event log that fails for all of them together may work for most of them one by one.
read_ahead(Taken, #data{name = Name, info = Info, hand_over = HandOver}) ->
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

%% Gives back what is too much for one batch, or comes after the event log began to fail.
build_all([], _Read, _Batch, _Events, Items, Data) ->
    {lists:reverse(Items), Data};
build_all(Left, _Read, Batch, Events, Items, #data{failures = Failures, marks = Marks} = Data) when
    Events =< 0; Failures >= ?MAX_FAILURES
->
    {lists:reverse(Items), Data#data{marks = convex_sidecar_marks:give_back([Mark || {Mark, _} <- Left], Batch, Marks)}};
build_all([{Mark, Marked} | Left], Read, Batch, Events, Items, Data0) ->
    case build(Mark, Marked, Read, Data0) of
        {#item{} = Item, Count, Data} -> build_all(Left, Read, Batch, Events - Count, [Item | Items], Data);
        {none, Data} -> build_all(Left, Read, Batch, Events, Items, Data)
    end.

build({{Kind, Id}, _} = Mark, Marked, Read, #data{name = Name, marks = Marks, gathered_at = At} = Data) ->
    Item = #item{mark = Mark, marked = Marked, taken_at = At},
    try request(Mark, Read, Data) of
        {ok, #{request := Request, last := Last, more := More, events := Count} = Found} ->
            Seen = maps:get(seen, Found, undefined),
            below(Item#item{request = Request, last = Last, more = More, seen = Seen}, Count, Data);
        not_found ->
            {none, given_up(not_found, Item, Data)}
    catch
        Class:Reason ->
            convex_sidecar_source:failed(Class, Reason, Kind, Id, Name),
            Failures = Data#data.failures + 1,
            {none, Data#data{marks = convex_sidecar_marks:later(Mark, Marks), failures = Failures}}
    end.

below(Item, Count, #data{below = Below} = Data) when map_size(Below) =:= 0 ->
    {Item, Count, Data};
below(#item{mark = Mark, request = Request} = Item, Count, #data{below = Below, hand_over = HandOver} = Data) ->
    case is_map_key(Mark, Below) of
        true -> {Item#item{request = HandOver:below(Request)}, Count, Data#data{below = maps:remove(Mark, Below)}};
        false -> {Item, Count, Data}
    end.

request(Mark, Read, _Data) when is_map_key(Mark, Read) -> maps:get(Mark, Read);
request(Mark, _Read, #data{info = Info, hand_over = HandOver}) -> HandOver:request(Mark, Info).

%% Sets the time at which entities whose source raised are marked again.
waiting(#data{waits = false, later_ms = Ms, marks = Marks} = Data) ->
    case convex_sidecar_marks:has_later(Marks) of
        true ->
            action({{timeout, later}, Ms, later}, Data#data{waits = true, later_ms = min(Ms * 2, ?LATER_MAX_MS)});
        false ->
            Data
    end;
waiting(Data) ->
    Data.

%% ---- answers

%% Whatever the answer is, each entity of the batch is kept, refused or marked again after it.
answered(Reply, #flight{batch = Batch, items = Items}, State, Data0) ->
    {Passes, Data} = replied(Reply, Items, Data0),
    Settled = settle_batch(Batch, Data),
    case Passes andalso State =/= resting of
        true -> rest(Settled);
        false -> step(State, Settled)
    end.

%% Whether any of it has to be sent again, after a pause.
replied({ok, Replies}, Items, #data{name = Name, limit = Limit, batch_limit = Max} = Data0) when
    length(Replies) =:= length(Items)
->
    {Data, Folded, Passing} = item_answers(Replies, Items, [], none, Data0#data{limit = min(Limit * 2, Max)}),
    convex_sidecar_instance:remember(Name, Folded),
    case Passing of
        none ->
            {false, Data#data{rest_ms = ?RETRY_MIN_MS}};
        Reason ->
            noted(Reason, Data),
            {true, Data}
    end;
replied({error, Reason}, Items, #data{limit = Limit} = Data0) ->
    Data = Data0#data{limit = max(1, Limit div 2)},
    case {convex_sidecar:is_passing(Reason), Items} of
        {false, [Item]} ->
            {false, given_up(Reason, Item, Data)};
        {_, _} ->
            back(Items, Data),
            noted(Reason, Data),
            {true, Data}
    end;
replied(_Nonsense, Items, Data) ->
    replied({error, {store, bad_reply}}, Items, Data).

%% `Folded': the last event the sidecar has now, by entity; `Passing': why some have to be sent again.
item_answers([ok | Replies], [#item{mark = {Key, _}, last = Last, more = false} = Item | Items], Folded, Passing, Data) when
    map_size(Data#data.gaps) =:= 0
->
    item_answers(Replies, Items, folded(Key, Last, Folded), Passing, look_again(Item, Data));
item_answers([Reply | Replies], [#item{mark = {Key, _} = Mark, last = Last} = Item | Items], Folded, Passing, Data0) ->
    case item_answer(Reply, Item, Data0) of
        {kept, Data} -> item_answers(Replies, Items, folded(Key, Last, Folded), Passing, Data);
        {done, Data} -> item_answers(Replies, Items, Folded, Passing, Data);
        {again, Reason} ->
            convex_sidecar_marks:again(Mark, Data0#data.marks),
            item_answers(Replies, Items, Folded, Reason, Data0)
    end;
item_answers([], [], Folded, Passing, Data) ->
    {Data, Folded, Passing}.

folded(_Key, undefined, Folded) -> Folded;
folded(Key, Last, Folded) -> [{Key, Last} | Folded].

item_answer(ok, #item{more = More} = Item, Data) ->
    {kept, kept(More, Item, Data)};
item_answer({ok, #{reason := <<"checkpoint_ahead">>, write := <<"skipped">>}} = Ok, #item{mark = Mark} = Item, Data0) ->
    tell(Item, Ok, Data0),
    #data{looks = Looks} = Data = without_gap(Mark, Data0),
    {kept, Data#data{looks = convex_sidecar_looks:behind(Mark, Looks)}};
item_answer({ok, Result} = Ok, #item{more = More} = Item, Data) ->
    tell(Item, Ok, Data),
    %% One page of a long history, or a row handed over at the same time as another process's (see
    %% convex_sidecar_source): read it once more.
    Again = More orelse maps:get(reason, Result, nil) =:= <<"summary_hash_mismatch">>,
    {kept, kept(Again, Item, Data)};
item_answer({error, {gap, Expected, _} = Gap}, #item{mark = {{Kind, Id} = Key, _} = Mark} = Item, Data) when
    is_integer(Expected), Expected > 0
->
    #data{name = Name, marks = Marks, gaps = Gaps} = Data,
    case maps:get(Key, Gaps, 0) + 1 of
        N when N > ?MAX_GAPS ->
            convex_sidecar_instance:forget(Name, Kind, Id),
            {done, given_up(Gap, Item, Data)};
        N ->
            convex_sidecar_instance:remember(Name, Kind, Id, Expected - 1),
            convex_sidecar_marks:again(Mark, Marks),
            {done, Data#data{gaps = Gaps#{Key => N}}}
    end;
item_answer({error, Reason}, Item, #data{name = Name} = Data) ->
    case convex_sidecar:is_passing(Reason) orelse convex_sidecar_instance:is_older(Name, Reason) of
        true -> {again, Reason};
        false -> {done, given_up(Reason, Item, Data)}
    end;
item_answer(_Nonsense, Item, Data) ->
    item_answer({error, bad_reply}, Item, Data).

kept(Again, #item{mark = Mark} = Item, #data{marks = Marks} = Data) ->
    _ = Again andalso convex_sidecar_marks:again(Mark, Marks),
    look_again(Item, without_gap(Mark, Data)).

look_again(#item{more = true}, Data) ->
    Data;
look_again(#item{mark = Mark, seen = Seen, taken_at = At, marked = Marked}, #data{looks = Looks} = Data) ->
    %% First take note of what other processes have handed over meanwhile.
    Data#data{looks = convex_sidecar_looks:sent(Mark, Seen, At, Marked, convex_sidecar_looks:asked(Looks))}.

without_gap({Key, _Source}, #data{gaps = Gaps} = Data) when is_map_key(Key, Gaps) ->
    Data#data{gaps = maps:remove(Key, Gaps)};
without_gap(_Mark, Data) ->
    Data.

back(Items, #data{marks = Marks}) ->
    lists:foreach(fun(#item{mark = Mark}) -> convex_sidecar_marks:again(Mark, Marks) end, Items).

%% A deleted row is not a fault; the synchronous call does not log it either.
given_up(not_found, #item{mark = {{Kind, Id}, _}} = Item, Data) ->
    log(debug, <<"conveyor.gone">>, "kind=~ts id=~ts", [Kind, convex_sidecar_instance:word(Id)], Data),
    tell(Item, {error, not_found}, Data),
    forgotten(Item, Data);
given_up(Reason, #item{mark = {{Kind, Id}, _}} = Item, Data) ->
    Args = [Kind, convex_sidecar_instance:word(Id), Reason],
    log(error, <<"conveyor.refused">>, "kind=~ts id=~ts reason=~0tp", Args, Data),
    tell(Item, {error, Reason}, Data),
    forgotten(Item, Data).

forgotten(#item{mark = Mark}, #data{looks = Looks} = Data) ->
    without_gap(Mark, Data#data{looks = convex_sidecar_looks:refused(Mark, Looks)}).

tell(#item{mark = Mark, taken_at = TakenAt}, Outcome, #data{name = Name}) ->
    convex_sidecar_source:tell(Mark, Outcome, now_ms() - TakenAt, Name).

%% ---- looks

%% Sets the timeout to what is due first.
looking({State, #data{looks = Looks, look_for = For} = Data} = At) ->
    case convex_sidecar_looks:next(Looks) of
        For -> At;
        none -> At;
        Next -> {State, action({{timeout, look}, convex_sidecar_looks:ms_until(Next), look}, Data#data{look_for = Next})}
    end.

%% Reads one group and marks what has changed.
look(State, #data{info = Info, marks = Marks, looks = Looks0} = Data) ->
    {Due, Looks1} = convex_sidecar_looks:due(convex_sidecar_looks:asked(Looks0)),
    Can = State =/= resting andalso convex_sidecar_instance:is_up(Info),
    {Now, Later} = lists:partition(fun(Look) -> Can andalso not convex_sidecar_marks:is_busy(element(2, Look), Marks) end, Due),
    {Compared, Shorter} = lists:partition(fun(Look) -> element(1, Look) =:= compare end, Now),
    Read = read_ahead([Mark || {_, Mark, _} <- Compared], Data),
    Looks2 = lists:foldl(fun convex_sidecar_looks:later/2, Looks1, Later ++ Shorter),
    {Changed, Looks3} = convex_sidecar_looks:compare(Compared, Read, fun(Mark) -> look_at(Mark, Data) end, Looks2),
    Below = [Mark || {below, Mark, _} <- Shorter],
    step(State, missed(changed(Changed ++ [Mark || {_, Mark, _} <- Shorter], Below, Data#data{looks = Looks3}))).

look_at({{Kind, Id}, _} = Mark, #data{name = Name, info = Info, hand_over = HandOver}) ->
    try
        HandOver:request(Mark, Info)
    catch
        Class:Reason ->
            convex_sidecar_source:failed(Class, Reason, Kind, Id, Name),
            failed
    end.

changed(Changed, Below, #data{marks = Marks, below = Before} = Data) ->
    lists:foreach(fun(Mark) -> convex_sidecar_marks:again(Mark, Marks) end, Changed),
    Data#data{below = maps:merge(Before, maps:from_keys(Below, true))}.

%% More looks were due than can be remembered: then the whole kind is swept.
missed(#data{looks = Looks0, marks = Marks} = Data) ->
    {Missed, Looks} = convex_sidecar_looks:missed(Looks0),
    lists:foreach(fun(Key) -> convex_sidecar_marks:sweep_again(Key, Marks) end, Missed),
    Data#data{looks = Looks}.

%% ---- log lines

noted(Reason, #data{rest_ms = ?RETRY_MIN_MS} = Data) ->
    %% Logged once per outage: only the first failure has the shortest pause.
    log(warning, <<"conveyor.waiting">>, "reason=~0tp", [Reason], Data);
noted(_Reason, _Data) ->
    ok.

log(Level, Event, Format, Args, #data{name = Name}) ->
    convex_sidecar_instance:log(Level, Event, Format, Args, Name).

now_ms() -> erlang:monotonic_time(millisecond).
