%% convex_sidecar_looks - what was handed over is looked at again: a row may change after its last event, and
%% a transaction may end after the look at it.
%%
%% The happy path: an entity that was handed over is due 100 ms after its last answer, and 2 s after that.  What
%% was read inside a transaction is due every 2 s for a minute.  The conveyor reads those that are due, in groups;
%% what is as it was sent is let go, what is not is marked.  An entity whose log ends before what the
%% sidecar has folded is sent again after 1, 5 and 30 s, the last time to go below.
%%
%% One row an entity and source: {Mark, Slot, At, Seen, Stage, Until, Since}.  Slots are of 100 ms; the wheel
%% holds each entity once, At; when it comes by there and the entity is due later, it goes on to Slot.
%%
%% Nothing grows without bound: there are at most dirty_limit rows.  What finds no room is noted by kind, and
%% all of that kind is looked at when half of the rows are free.
%%
%% What can go wrong: the conveyor dies; the table is the supervisor's, and the wheel is made of it again.
%%
%% ask runs in any process, the rest in the conveyor.
-module(convex_sidecar_looks).

-export([ask/4, ask/3]).
-export([open/1, asked/1, has_asked/1, sent/4, behind/2, refused/2, next/1, ms_until/1, due/1, same/2, changed/2, later/2, soon/2]).
-export([missed/1]).

-export_type([looks/0, look/0, seen/0]).

-type mark() :: convex_sidecar_marks:mark().
%% A hash of row and last event.
-type seen() :: non_neg_integer() | undefined.

-define(SLOT_MS, 100).
-define(QUIET_MS, 100).
-define(AGAIN_MS, 2000).
-define(TRANSACTION_MS, 60000).
%% After the first answer that said that the log is shorter than the fold.
-define(WAITS_MS, [1000, 5000, 30000]).
%% In one group.
-define(GROUP, 512).
-define(MAX_MISSED, 100).

-record(look, {
    mark :: mark() | '_',
    %% when it is due, and where it is on the wheel
    slot = 0 :: non_neg_integer() | '_',
    at = none :: none | non_neg_integer() | '_',
    seen = undefined :: seen() | '_',
    stage = 1 :: 1 | 2 | '_',
    %% to be looked at until then, whatever was found
    until = 0 :: non_neg_integer() | '_',
    %% since when the log is shorter than what the sidecar has folded
    since = none :: none | non_neg_integer() | '_'
}).

-record(looks, {
    info :: convex_sidecar_instance:info(),
    wheel = #{} :: #{non_neg_integer() => [mark()]},
    %% of slots that have passed: more than one group
    ready = [] :: [{non_neg_integer(), [mark()]}],
    %% the first slot of the wheel
    first = none :: none | non_neg_integer(),
    missed = #{} :: #{{convex_sidecar:kind(), convex_sidecar:source()} => true}
}).

-opaque looks() :: #looks{}.
%% What is due: to be compared with what was seen, or sent again because its log was shorter; `below': for the last time.
-type look() :: {compare, mark(), seen()} | {again | below, mark()}.

%% ---- for everybody

%% @doc The entity is to be looked at for a minute: it was read, or changed, inside a transaction.
-spec ask(convex_sidecar_instance:name(), mark(), transaction) -> ok.
ask(Name, Mark, transaction) -> ask(Name, Mark, undefined, true).

%% @doc The entity was handed over as `Seen', by somebody else than the conveyor.
-spec ask(convex_sidecar_instance:name(), mark(), seen(), InTransaction :: boolean()) -> ok.
ask(Name, {{Kind, Id}, Source} = Mark, Seen, InTransaction) ->
    convex_sidecar_instance:with_tables(Name, ok, fun(#{asked := Asked, dirty_limit := Limit} = Info) ->
        case ets:info(Asked, size) < Limit of
            true ->
                ets:insert(Asked, {{Mark, InTransaction}, Seen, until(InTransaction)}),
                convex_sidecar_marks:wake(Info);
            false ->
                _ = convex_sidecar_marks:mark(Name, Kind, Id, Source)
        end,
        ok
    end).

until(true) -> now_ms() + ?TRANSACTION_MS;
until(false) -> 0.

%% ---- for the conveyor

%% @doc Goes on with what a conveyor before this one had in mind.
-spec open(convex_sidecar_instance:info()) -> looks().
open(#{looks := Table} = Info) ->
    lists:foldl(
        fun(#look{slot = Slot} = Look, Looks) -> put_at(max(Slot, slot(now_ms())), Look#look{at = none}, Looks) end,
        #looks{info = Info},
        ets:tab2list(Table)
    ).

%% @doc Takes what others asked for.
-spec asked(looks()) -> looks().
asked(#looks{info = #{asked := Asked}} = Looks) ->
    case ets:info(Asked, size) of
        0 -> Looks;
        _ -> lists:foldl(fun take_asked/2, Looks, ets:tab2list(Asked))
    end.

take_asked({{Mark, _} = Key, _, _}, #looks{info = #{asked := Asked}} = Looks) ->
    case ets:take(Asked, Key) of
        [{_, undefined, Until}] ->
            Look = find(Mark, Looks),
            put_in(?AGAIN_MS, Look#look{until = max(Until, Look#look.until)}, Looks);
        [{_, Seen, Until}] ->
            Look = find(Mark, Looks),
            put_in(?QUIET_MS, Look#look{seen = Seen, stage = 1, until = max(Until, Look#look.until), since = none}, Looks);
        [] ->
            Looks
    end.

%% @doc Whether there is anything for asked/1.
-spec has_asked(looks()) -> boolean().
has_asked(#looks{info = #{asked := Asked}}) -> ets:info(Asked, size) > 0.

%% @doc The entity was handed over, and taken.  `New': it is looked at again even if it was not before.
-spec sent(mark(), seen(), New :: boolean(), looks()) -> looks().
sent(_Mark, undefined, _New, Looks) ->
    Looks;
sent(Mark, Seen, New, #looks{info = #{looks := Table}} = Looks) ->
    case ets:lookup(Table, Mark) of
        [Look] -> put_in(?QUIET_MS, Look#look{seen = Seen, stage = 1, since = none}, Looks);
        [] when New -> put_in(?QUIET_MS, #look{mark = Mark, seen = Seen}, Looks);
        [] -> Looks
    end.

%% @doc The log ends before what the sidecar has folded.
-spec behind(mark(), looks()) -> looks().
behind(Mark, Looks) ->
    case find(Mark, Looks) of
        #look{since = none} = Look -> wait(Look#look{since = now_ms()}, Looks);
        Look -> wait(Look, Looks)
    end.

%% @doc The sidecar does not take it, or it is not there: unless that may pass with a transaction, it is forgotten.
-spec refused(mark(), looks()) -> looks().
refused(Mark, #looks{info = #{looks := Table}} = Looks) ->
    case ets:lookup(Table, Mark) of
        [Look] -> done(Look, Looks);
        [] -> Looks
    end.

%% @doc When due/1 has something to give.
-spec next(looks()) -> none | soon | non_neg_integer().
next(#looks{ready = [_ | _]}) -> soon;
next(#looks{first = First}) -> First.

%% @doc How long it is until then.
-spec ms_until(soon | non_neg_integer()) -> non_neg_integer().
ms_until(soon) -> ?SLOT_MS;
ms_until(Slot) -> max(0, Slot * ?SLOT_MS - now_ms()).

%% @doc A group of what is due.  Each has to be told same/2, changed/2, later/2 or soon/2.
-spec due(looks()) -> {[look()], looks()}.
due(#looks{wheel = Wheel, ready = Ready} = Looks) ->
    Now = now_ms() div ?SLOT_MS,
    Slots = lists:sort([Slot || Slot <- maps:keys(Wheel), Slot =< Now]),
    Passed = [{Slot, maps:get(Slot, Wheel)} || Slot <- Slots],
    Left = maps:without(Slots, Wheel),
    group(?GROUP, [], first(Looks#looks{wheel = Left, ready = Ready ++ Passed}), Now).

group(Room, Group, #looks{ready = Ready} = Looks, _Now) when Room =:= 0; Ready =:= [] ->
    {lists:reverse(Group), Looks};
group(Room, Group, #looks{ready = [{_, []} | Ready]} = Looks, Now) ->
    group(Room, Group, Looks#looks{ready = Ready}, Now);
group(Room, Group, #looks{ready = [{At, [Mark | Marks]} | Ready], info = #{looks := Table}} = Looks0, Now) ->
    Looks = Looks0#looks{ready = [{At, Marks} | Ready]},
    case ets:lookup(Table, Mark) of
        [#look{at = At, slot = Slot} = Look] when Slot > Now ->
            group(Room, Group, put_at(Slot, Look#look{at = none}, Looks), Now);
        [#look{at = At} = Look] ->
            ets:insert(Table, Look#look{at = none}),
            group(Room - 1, [to_do(Look) | Group], Looks, Now);
        %% It is elsewhere on the wheel by now, or done.
        _ ->
            group(Room, Group, Looks, Now)
    end.

to_do(#look{mark = Mark, since = none, seen = Seen}) ->
    {compare, Mark, Seen};
to_do(#look{mark = Mark, since = Since}) ->
    case now_ms() - Since >= lists:last(?WAITS_MS) of
        true -> {below, Mark};
        false -> {again, Mark}
    end.

%% @doc It is as it was sent.
-spec same(mark(), looks()) -> looks().
same(Mark, Looks) -> done(find(Mark, Looks), Looks).

%% @doc It is not, and was marked.
-spec changed(mark(), looks()) -> looks().
changed(Mark, Looks) -> put_in(?AGAIN_MS, find(Mark, Looks), Looks).

%% @doc It could not be looked at.
-spec later(mark(), looks()) -> looks().
later(Mark, Looks) -> put_in(?AGAIN_MS, find(Mark, Looks), Looks).

%% @doc There was no room for it in the group.
-spec soon(mark(), looks()) -> looks().
soon(Mark, Looks) -> put_in(0, find(Mark, Looks), Looks).

%% @doc The kinds of which something was not looked at, once there is room.
-spec missed(looks()) -> {[{convex_sidecar:kind(), convex_sidecar:source()}], looks()}.
missed(#looks{missed = Missed} = Looks) when map_size(Missed) =:= 0 ->
    {[], Looks};
missed(#looks{missed = Missed, info = #{looks := Table, dirty_limit := Limit}} = Looks) ->
    case ets:info(Table, size) * 2 =< Limit of
        true -> {maps:keys(Missed), Looks#looks{missed = #{}}};
        false -> {[], Looks}
    end.

%% ---- inside

done(#look{stage = 1} = Look, Looks) ->
    put_in(?AGAIN_MS, Look#look{stage = 2}, Looks);
done(#look{mark = Mark, until = Until} = Look, #looks{info = #{looks := Table}} = Looks) ->
    case Until > now_ms() of
        true ->
            put_in(?AGAIN_MS, Look, Looks);
        false ->
            ets:delete(Table, Mark),
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

find(Mark, #looks{info = #{looks := Table}}) ->
    case ets:lookup(Table, Mark) of
        [Look] -> Look;
        [] -> #look{mark = Mark}
    end.

put_in(Ms, Look, Looks) -> put_at(slot(now_ms() + Ms), Look, Looks).

%% Where it comes by earlier than that, it goes on from there.
put_at(Slot, #look{at = At} = Look, #looks{info = #{looks := Table}} = Looks) when is_integer(At), At =< Slot ->
    ets:insert(Table, Look#look{slot = Slot}),
    Looks;
put_at(Slot, #look{mark = {{Kind, _}, Source} = Mark, at = At} = Look, Looks) ->
    #looks{info = #{looks := Table, dirty_limit := Limit}, wheel = Wheel, first = First, missed = Missed} = Looks,
    case is_integer(At) orelse ets:info(Table, size) < Limit orelse ets:member(Table, Mark) of
        true ->
            ets:insert(Table, Look#look{slot = Slot, at = Slot}),
            Marks = maps:get(Slot, Wheel, []),
            Looks#looks{wheel = Wheel#{Slot => [Mark | Marks]}, first = earlier(Slot, First)};
        false when map_size(Missed) < ?MAX_MISSED ->
            Looks#looks{missed = Missed#{{Kind, Source} => true}};
        false ->
            Looks
    end.

earlier(Slot, none) -> Slot;
earlier(Slot, First) -> min(Slot, First).

first(#looks{wheel = Wheel} = Looks) when map_size(Wheel) =:= 0 -> Looks#looks{first = none};
first(#looks{wheel = Wheel} = Looks) -> Looks#looks{first = lists:min(maps:keys(Wheel))}.

slot(Ms) -> (Ms + ?SLOT_MS - 1) div ?SLOT_MS.

%% Since this VM started, so never below zero.
now_ms() ->
    erlang:convert_time_unit(erlang:monotonic_time() - erlang:system_info(start_time), native, millisecond).
