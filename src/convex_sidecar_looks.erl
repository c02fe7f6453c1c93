%% convex_sidecar_looks - when an entity that was handed over is read again: its row may change after its last
%% event, and a transaction may end after it was read.
%%
%% The happy path: an entity that was handed over is due 100 ms after its last answer, and 2 s after that.  What
%% was read inside a transaction is due every 2 s for a minute.  The conveyor reads those that are due, in groups;
%% what is unchanged is forgotten, what has changed is marked.  An entity whose log ends before what the
%% sidecar has folded is sent again after 1, 5 and 30 s, the last time with leave to lower the document's seq.
%%
%% There is one row for each entity, with the source that last handed it over, which owns the document.  A slot of
%% the timer wheel is 100 ms.  The wheel holds each entity once, in slot `at'; an entity that is due later when
%% that slot expires moves on to `slot'.  The wheel is a table of its own, so that the garbage collector does not
%% copy it with the conveyor's heap.
%%
%% Nothing grows without bound: there are at most dirty_limit rows.  What does not fit is noted by kind, and
%% that whole kind is swept when half of the rows are free.
%%
%% What can go wrong: the conveyor dies.  The table belongs to the supervisor, and the wheel is built from it again.
%%
%% ask runs in any process, the rest in the conveyor.
-module(convex_sidecar_looks).

-export([ask/4, ask/3]).
-export([open/1, asked/1, has_asked/1, sent/5, behind/2, refused/2, next/1, ms_until/1, due/1, compare/4, later/2]).
-export([missed/1]).

-export_type([looks/0, look/0, seen/0]).

-type mark() :: convex_sidecar_marks:mark().
%% A hash of the row and the last event.
-type seen() :: non_neg_integer() | undefined.

-define(SLOT_MS, 100).
-define(QUIET_MS, 100).
-define(AGAIN_MS, 2000).
-define(TRANSACTION_MS, 60000).
%% The delays after the first answer that says that the log is shorter than the fold.
-define(WAITS_MS, [1000, 5000, 30000]).
%% The most entities in one group, and in one row of the wheel.
-define(GROUP, 512).
-define(MAX_MISSED, 100).
%% How many entities of a group are read one by one (more, as long as it takes less than SINGLE_MS), and how many of
%% these reads may raise (MAX_FAILURES).
-define(SINGLE_LOOKS, 50).
-define(SINGLE_MS, 20).
%% The size of the next group when not all of one could be read, since the rest has to be put back.
-define(SMALL_GROUP, 100).
-define(MAX_FAILURES, 3).

-record(look, {
    key :: convex_sidecar_marks:key(),
    source :: convex_sidecar:source(),
    %% when it is due, and where it is on the wheel
    slot = 0 :: non_neg_integer(),
    at = none :: none | non_neg_integer(),
    seen = undefined :: seen(),
    %% when another process handed it over
    asked = none :: none | integer(),
    stage = 1 :: 1 | 2,
    %% looked at until then, whatever is found
    until = 0 :: non_neg_integer(),
    %% since when the log has been shorter than what the sidecar has folded
    since = none :: none | non_neg_integer()
}).

-record(looks, {
    info :: convex_sidecar_instance:info(),
    %% {{Slot, No}, [Key]}
    wheel :: ets:tid(),
    %% the row that is being filled
    open = none :: none | {non_neg_integer(), pos_integer(), [convex_sidecar_marks:key()]},
    next_no = 1 :: pos_integer(),
    %% the first slot of the wheel
    first = none :: none | non_neg_integer(),
    %% more is due than one group
    has_more = false :: boolean(),
    group = ?GROUP :: pos_integer(),
    missed = #{} :: #{{convex_sidecar:kind(), convex_sidecar:source()} => true}
}).

-opaque looks() :: #looks{}.
-type found() :: {ok, #{seen := seen(), _ => _}} | not_found.
%% What is due: to be compared with what was seen, or sent again because its log was shorter (`below': the last time).
-type look() :: {compare | again | below, mark(), #look{}}.

%% ---- for any process

%% @doc Look at the entity for a minute: it was read, or changed, inside a transaction.
-spec ask(convex_sidecar_instance:name(), mark(), transaction) -> ok.
ask(Name, Mark, transaction) -> ask(Name, Mark, undefined, true).

%% @doc Note that a process other than the conveyor has handed the entity over as `Seen'.
-spec ask(convex_sidecar_instance:name(), mark(), seen(), InTransaction :: boolean()) -> ok.
ask(Name, {{Kind, Id}, Source} = Mark, Seen, InTransaction) ->
    convex_sidecar_instance:with_tables(Name, ok, fun(#{asked := Asked, dirty_limit := Limit} = Info) ->
        case ets:info(Asked, size) < Limit of
            true ->
                ets:insert(Asked, {{Mark, InTransaction}, Seen, until(InTransaction), erlang:monotonic_time()}),
                convex_sidecar_marks:wake(Info);
            false ->
                _ = convex_sidecar_marks:mark(Name, Kind, Id, Source)
        end,
        ok
    end).

until(true) -> now_ms() + ?TRANSACTION_MS;
until(false) -> 0.

%% ---- for the conveyor

%% @doc Continue with the looks of a previous conveyor.
-spec open(convex_sidecar_instance:info()) -> looks().
open(#{looks := Table} = Info) ->
    lists:foldl(
        fun(#look{slot = Slot} = Look, Looks) -> put_at(max(Slot, slot(now_ms())), Look#look{at = none}, Looks) end,
        #looks{info = Info, wheel = ets:new(?MODULE, [ordered_set, private])},
        ets:tab2list(Table)
    ).

%% @doc Take over what other processes have asked for.
-spec asked(looks()) -> looks().
asked(#looks{info = #{asked := Asked}} = Looks) ->
    case ets:info(Asked, size) of
        0 -> Looks;
        %% What was handed over last is what the sidecar has.
        _ -> lists:foldl(fun take_asked/2, Looks, lists:keysort(4, ets:tab2list(Asked)))
    end.

take_asked({{{_, Source} = Mark, _} = Key, _, _, _}, #looks{info = #{asked := Asked}} = Looks) ->
    case ets:take(Asked, Key) of
        [{_, undefined, Until, _}] ->
            Look = find(Mark, Looks),
            put_in(?AGAIN_MS, Look#look{source = Source, until = max(Until, Look#look.until)}, Looks);
        [{_, Seen, Until, At}] ->
            Look = find(Mark, Looks),
            Later = max(Until, Look#look.until),
            Next = Look#look{source = Source, seen = Seen, stage = 1, until = Later, since = none, asked = millis(At)},
            put_in(?QUIET_MS, Next, Looks);
        [] ->
            Looks
    end.

%% @doc Whether asked/1 has anything to take.
-spec has_asked(looks()) -> boolean().
has_asked(#looks{info = #{asked := Asked}}) -> ets:info(Asked, size) > 0.

%% @doc Note that the entity was handed over as it was read at `ReadAt', and accepted.  `New': look at it again even
%% if it was not before.  If another process has handed it over since then, the order of the two is unknown, and
%% the next look sends it.
-spec sent(mark(), seen(), ReadAt :: integer(), New :: boolean(), looks()) -> looks().
sent(_Mark, undefined, _ReadAt, _New, Looks) ->
    Looks;
sent({Key, Source}, Seen, ReadAt, New, #looks{info = #{looks := Table}} = Looks) ->
    case ets:lookup(Table, Key) of
        [#look{asked = At} = Look] when is_integer(At), At >= ReadAt ->
            put_in(?QUIET_MS, Look#look{seen = undefined, stage = 1, since = none}, Looks);
        [Look] ->
            put_in(?QUIET_MS, Look#look{source = Source, seen = Seen, stage = 1, since = none}, Looks);
        [] when New ->
            put_in(?QUIET_MS, #look{key = Key, source = Source, seen = Seen}, Looks);
        [] ->
            Looks
    end.

%% @doc Note that the log ends before what the sidecar has folded.
-spec behind(mark(), looks()) -> looks().
behind(Mark, Looks) ->
    case find(Mark, Looks) of
        #look{since = none} = Look -> wait(Look#look{since = now_ms()}, Looks);
        Look -> wait(Look, Looks)
    end.

%% @doc Note that the sidecar refused the entity, or it does not exist: unless a transaction may change that, forget it.
-spec refused(mark(), looks()) -> looks().
refused({Key, _Source}, #looks{info = #{looks := Table}} = Looks) ->
    case ets:lookup(Table, Key) of
        [Look] -> done(Look, Looks);
        [] -> Looks
    end.

%% @doc When due/1 will next return something.
-spec next(looks()) -> none | soon | non_neg_integer().
next(#looks{has_more = true}) -> soon;
next(#looks{first = First}) -> First.

%% @doc How many milliseconds it is until then.
-spec ms_until(soon | non_neg_integer()) -> non_neg_integer().
ms_until(soon) -> ?SLOT_MS;
ms_until(Slot) -> max(0, Slot * ?SLOT_MS - now_ms()).

%% @doc One group of what is due.  Each of them must be passed to compare/4 or later/2.
-spec due(looks()) -> {[look()], looks()}.
due(#looks{group = Group} = Looks0) ->
    Now = now_ms() div ?SLOT_MS,
    {Due, Looks} = group(Group, [], closed(Looks0), Now),
    #looks{first = First} = Next = first(Looks),
    {lists:reverse(Due), Next#looks{has_more = is_integer(First) andalso First =< Now}}.

group(0, Group, Looks, _Now) ->
    {Group, Looks};
group(Room, Group, #looks{wheel = Wheel} = Looks, Now) ->
    case ets:first(Wheel) of
        {At, _} = Row when At =< Now ->
            [{_, Keys}] = ets:take(Wheel, Row),
            row(Keys, Row, Room, Group, Looks, Now);
        _ ->
            {Group, Looks}
    end.

row([], _Row, Room, Group, Looks, Now) ->
    group(Room, Group, Looks, Now);
row(Keys, Row, 0, Group, #looks{wheel = Wheel} = Looks, _Now) ->
    ets:insert(Wheel, {Row, Keys}),
    {Group, Looks};
row([Key | Keys], {At, _} = Row, Room, Group, #looks{info = #{looks := Table}} = Looks, Now) ->
    case ets:lookup(Table, Key) of
        [#look{at = At, slot = Slot} = Look] when Slot > Now ->
            row(Keys, Row, Room, Group, put_at(Slot, Look#look{at = none}, Looks), Now);
        [#look{at = At} = Look] ->
            ets:update_element(Table, Key, {#look.at, none}),
            row(Keys, Row, Room - 1, [to_do(Look#look{at = none}) | Group], Looks, Now);
        %% It has moved on the wheel, or is done.
        _ ->
            row(Keys, Row, Room, Group, Looks, Now)
    end.

to_do(#look{key = Key, source = Source, since = none} = Look) ->
    {compare, {Key, Source}, Look};
to_do(#look{key = Key, source = Source, since = Since} = Look) ->
    case now_ms() - Since >= lists:last(?WAITS_MS) of
        true -> {below, {Key, Source}, Look};
        false -> {again, {Key, Source}, Look}
    end.

%% @doc Those that have changed since they were sent.  `Read' holds those that were read together; `Ask' reads one.
-spec compare([look()], #{mark() => found()}, fun((mark()) -> found() | failed), looks()) -> {[mark()], looks()}.
compare(Due, Read, Ask, Looks) ->
    Begin = {?SINGLE_LOOKS, ?MAX_FAILURES, [], Looks#looks{group = ?GROUP}},
    Until = now_ms() + ?SINGLE_MS,
    One = fun(Look, Acc) -> compare_one(Look, Read, Ask, one_more(Until, Acc)) end,
    {_, _, Changed, Left} = lists:foldl(One, Begin, Due),
    {Changed, Left}.

one_more(Until, {0, Failures, Changed, Looks} = Acc) ->
    case now_ms() < Until of
        true -> {1, Failures, Changed, Looks};
        false -> Acc
    end;
one_more(_Until, Acc) ->
    Acc.

compare_one({_, Mark, _} = Look, Read, _Ask, Acc) when is_map_key(Mark, Read) ->
    found(maps:get(Mark, Read), Look, Acc);
%% This group may read no more entities one by one: it goes to the next group.
compare_one({_, _, Look}, _Read, _Ask, {0, Failures, Changed, Looks}) ->
    {0, Failures, Changed, put_in(0, Look, Looks#looks{group = ?SMALL_GROUP})};
%% The event log is failing.
compare_one(Look, _Read, _Ask, {Room, 0, Changed, Looks}) ->
    {Room, 0, Changed, later(Look, Looks)};
compare_one({_, Mark, _} = Look, _Read, Ask, {Room, Failures, Changed, Looks}) ->
    found(Ask(Mark), Look, {Room - 1, Failures, Changed, Looks}).

found(failed, Look, {Room, Failures, Changed, Looks}) ->
    {Room, Failures - 1, Changed, later(Look, Looks)};
found({ok, #{seen := Other}}, {_, Mark, #look{seen = Seen}} = Look, {Room, Failures, Changed, Looks}) when Other =/= Seen ->
    {Room, Failures, [Mark | Changed], later(Look, Looks)};
found(_SameOrGone, {_, _, Look}, {Room, Failures, Changed, Looks}) ->
    {Room, Failures, Changed, done(Look, Looks)}.

%% @doc Put back an entity that is marked, under way, or could not be looked at.
-spec later(look(), looks()) -> looks().
later({_, _, Look}, Looks) -> put_in(?AGAIN_MS, Look, Looks).

%% @doc The kinds of which some looks were dropped, once there is space again.
-spec missed(looks()) -> {[{convex_sidecar:kind(), convex_sidecar:source()}], looks()}.
missed(#looks{missed = Missed} = Looks) when map_size(Missed) =:= 0 ->
    {[], Looks};
missed(#looks{missed = Missed, info = #{looks := Table, dirty_limit := Limit}} = Looks) ->
    case ets:info(Table, size) * 2 =< Limit of
        true -> {maps:keys(Missed), Looks#looks{missed = #{}}};
        false -> {[], Looks}
    end.

%% ---- internal

done(#look{stage = 1} = Look, Looks) ->
    put_in(?AGAIN_MS, Look#look{stage = 2}, Looks);
done(#look{key = Key, until = Until} = Look, #looks{info = #{looks := Table}} = Looks) ->
    case Until > now_ms() of
        true ->
            put_in(?AGAIN_MS, Look, Looks);
        false ->
            ets:delete(Table, Key),
            Looks
    end.

wait(#look{since = Since, until = Until} = Look, Looks) ->
    Now = now_ms(),
    Step =
        case [Ms || Ms <- ?WAITS_MS, Since + Ms > Now] of
            [Ms | _] -> Since + Ms - Now;
            [] -> ?AGAIN_MS
        end,
    case Until > Now of
        true -> put_in(min(Step, ?AGAIN_MS), Look, Looks);
        false -> put_in(Step, Look, Looks)
    end.

find({Key, Source}, #looks{info = #{looks := Table}}) ->
    case ets:lookup(Table, Key) of
        [Look] -> Look;
        [] -> #look{key = Key, source = Source}
    end.

put_in(Ms, Look, Looks) -> put_at(slot(now_ms() + Ms), Look, Looks).

%% If its slot on the wheel expires before that, it moves on from there.
put_at(Slot, #look{at = At} = Look, #looks{info = #{looks := Table}} = Looks) when is_integer(At), At =< Slot ->
    ets:insert(Table, Look#look{slot = Slot}),
    Looks;
put_at(Slot, #look{key = {Kind, _} = Key, source = Source, at = At} = Look, Looks) ->
    #looks{info = #{looks := Table, dirty_limit := Limit}, missed = Missed} = Looks,
    case is_integer(At) orelse ets:info(Table, size) < Limit orelse ets:member(Table, Key) of
        true ->
            ets:insert(Table, Look#look{slot = Slot, at = Slot}),
            on_wheel(Slot, Key, Looks);
        false when map_size(Missed) < ?MAX_MISSED ->
            Looks#looks{missed = Missed#{{Kind, Source} => true}};
        false ->
            Looks
    end.

%% The entities of a batch or a group arrive together and go to the same slot: they share a row.
on_wheel(Slot, Key, #looks{open = {Slot, Count, Keys}} = Looks) when Count < ?GROUP ->
    Looks#looks{open = {Slot, Count + 1, [Key | Keys]}};
on_wheel(Slot, Key, Looks) ->
    #looks{first = First} = Closed = closed(Looks),
    Closed#looks{open = {Slot, 1, [Key]}, first = earlier(Slot, First)}.

closed(#looks{open = none} = Looks) ->
    Looks;
closed(#looks{open = {Slot, _, Keys}, wheel = Wheel, next_no = No} = Looks) ->
    ets:insert(Wheel, {{Slot, No}, Keys}),
    Looks#looks{open = none, next_no = No + 1}.

earlier(Slot, none) -> Slot;
earlier(Slot, First) -> min(Slot, First).

first(#looks{wheel = Wheel} = Looks0) ->
    Looks = closed(Looks0),
    case ets:first(Wheel) of
        '$end_of_table' -> Looks#looks{first = none};
        {Slot, _} -> Looks#looks{first = Slot}
    end.

millis(Native) -> erlang:convert_time_unit(Native, native, millisecond).

slot(Ms) -> (Ms + ?SLOT_MS - 1) div ?SLOT_MS.

%% Counted from the start of this VM, so never negative.
now_ms() -> millis(erlang:monotonic_time() - erlang:system_info(start_time)).
