%% convex_sidecar_marks - which entities have changed, and which of them are on their way.
%%
%% The happy path: a process that appended an event marks the entity: one insert into
%% a public table, and a wake-up when the conveyor is idle.  The conveyor takes the marks
%% in batches; a batch is settled when every entity in it is kept, refused, or marked
%% again.  An entity is in one batch at a time; what is marked meanwhile waits.
%%
%% Nothing grows without bound: there is one mark per entity and source, and at most
%% dirty_limit of them.  Beyond that the whole kind is flagged for a sweep: all ids of the
%% source are projected, in pages, when no mark is left.  Entities that wait because their
%% source raised are remembered one by one up to the same limit, then as a sweep.
%%
%% What has changed lately is swept periodically as well, where the source can list it: only this finds a
%% commit that comes after all looks.
%%
%% What can go wrong: the source raises when asked for its ids; the sweep starts again
%% later, with whatever else waits.  The conveyor dies: a batch is copied to `flight' before
%% its marks are deleted, and its marks are deleted before events are read, so everything
%% is dirty again after its restart.  The tables belong to the supervisor.
%%
%% mark, mark_all and backlog run in any process; the rest in the conveyor.
-module(convex_sidecar_marks).

-export([mark/4, mark/5, mark_all/3, has_any/2, backlog/1, wake/1]).
-export([open/1, has_work/1, count/1, is_sweeping/1, doze/1, take/2, is_busy/2, again/2, sweep_again/2, sweep_changed/2, give_back/3, settle/2]).
-export([later/2, has_later/1, later_again/1]).

-export_type([marks/0, mark/0, key/0, batch/0]).

-type key() :: {convex_sidecar:kind(), convex_sidecar:entity_id()}.
-type mark() :: {key(), convex_sidecar:source()}.
-type batch() :: pos_integer().
-type sweep_key() :: {convex_sidecar:kind(), convex_sidecar:source()}.

%% Slot 2 of the instance's flags: 1 when the conveyor sleeps and wants to be woken.
-define(IDLE, 2).
-define(SWEEP_PAGE, 1000).
%% Kinds times sources; more means that a caller invents sources.
-define(MAX_SWEEPS, 100).
%% How many changed ids are read at once; when there are more, only later changes are read.
-define(CHANGED, 10000).
-define(CHANGED_MIN_MS, 10000).

-record(sweep, {
    key :: sweep_key(),
    ids = [] :: [convex_sidecar:entity_id()],
    %% only `ids', which have changed
    changed = false :: boolean(),
    last = undefined :: undefined | convex_sidecar:entity_id()
}).

-record(marks, {
    info :: convex_sidecar_instance:info(),
    %% where the next marks are taken from
    cursor = start :: start | term(),
    sweep :: undefined | #sweep{},
    %% what a caller has asked to be swept; changes are listed for these only
    swept = #{} :: #{sweep_key() => true},
    next_batch = 1 :: batch(),
    under_way = #{} :: #{batch() => #{key() => true}},
    %% entities whose source raised
    later = #{} :: #{mark() => true},
    later_sweeps = #{} :: #{sweep_key() => true}
}).

-opaque marks() :: #marks{}.

%% ---- for any process

%% @doc Mark an entity that has changed.  Never waits.
-spec mark(convex_sidecar_instance:name(), convex_sidecar:kind(), convex_sidecar:entity_id(),
    convex_sidecar:source()) -> ok | {error, unavailable | busy}.
mark(Name, Kind, Id, Source) ->
    case convex_sidecar_instance:lookup(Name) of
        {ok, #{dirty_limit := Limit} = Info} -> mark_in(Info, {{Kind, Id}, Source}, Limit);
        error -> {error, unavailable}
    end.

%% @doc The same, with a limit other than the instance's own.
-spec mark(convex_sidecar_instance:name(), convex_sidecar:kind(), convex_sidecar:entity_id(),
    convex_sidecar:source(), pos_integer()) -> ok | {error, unavailable | busy}.
mark(Name, Kind, Id, Source, Limit) ->
    case convex_sidecar_instance:lookup(Name) of
        {ok, Info} -> mark_in(Info, {{Kind, Id}, Source}, Limit);
        error -> {error, unavailable}
    end.

%% Each append pays for this: no call, closure or write that is not needed.
mark_in(#{dirty := Dirty} = Info, {{Kind, _Id}, Source} = Mark, Limit) ->
    try
        case ets:info(Dirty, size) < Limit of
            true ->
                _ = ets:insert_new(Dirty, {Mark}) andalso wake(Info),
                ok;
            false ->
                case ets:member(Dirty, Mark) of
                    true -> ok;
                    false -> sweep(Info, Kind, Source, pending)
                end
        end
    catch
        %% The supervisor has stopped, and its tables are gone.
        error:badarg -> {error, unavailable}
    end.

%% @doc Mark a whole kind: every entity may have changed, or may never have been handed over.
-spec mark_all(convex_sidecar_instance:name(), convex_sidecar:kind(), convex_sidecar:source()) ->
    ok | {error, unavailable | busy}.
mark_all(Name, Kind, Source) ->
    convex_sidecar_instance:with_tables(Name, {error, unavailable}, fun(Info) -> sweep(Info, Kind, Source, asked) end).

%% @doc Whether anything of this source is left to do.  While marks come and go, `false' may be wrong.
-spec has_any(convex_sidecar_instance:name(), convex_sidecar:source()) -> boolean().
has_any(Name, Source) ->
    convex_sidecar_instance:with_tables(Name, false, fun(#{dirty := Dirty, flight := Flight, sweeps := Sweeps}) ->
        Is = [{'=:=', '$1', {const, Source}}],
        ets:select_count(Sweeps, [{{{'_', '$1'}, '_'}, Is, [true]}]) > 0 orelse
            ets:select_count(Dirty, [{{{'_', '$1'}}, Is, [true]}]) > 0 orelse
            lists:any(
                fun({_, Rows}) -> lists:any(fun({_, Of}) -> Of =:= Source end, Rows) end, ets:tab2list(Flight)
            ) orelse
            ets:select_count(Dirty, [{{{'_', '$1'}}, Is, [true]}]) > 0
    end).

%% `pending' replaces `sweeping': the sweep that is under way may have passed this id.
sweep(#{sweeps := Sweeps} = Info, Kind, Source, Why) ->
    case ets:info(Sweeps, size) < ?MAX_SWEEPS orelse ets:member(Sweeps, {Kind, Source}) of
        true ->
            ets:insert(Sweeps, {{Kind, Source}, Why}),
            _ = wake(Info),
            ok;
        false ->
            {error, busy}
    end.

%% @doc Wake a conveyor that dozes.
-spec wake(convex_sidecar_instance:info()) -> term().
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

%% @doc How much is left to do; nothing for an instance that has stopped.
-spec backlog(convex_sidecar_instance:name()) ->
    #{dirty := non_neg_integer(), in_flight := non_neg_integer(), sweeps := non_neg_integer()}.
backlog(Name) ->
    convex_sidecar_instance:with_tables(Name, #{dirty => 0, in_flight => 0, sweeps => 0}, fun backlog_of/1).

backlog_of(#{dirty := Dirty, flight := Flight, sweeps := Sweeps}) ->
    {InFlight, Later} = ets:foldl(fun count_row/2, {0, 0}, Flight),
    #{dirty => size_of(Dirty), in_flight => InFlight, sweeps => size_of(Sweeps) + Later}.

count_row({{sweep, _}, _}, {Entities, Sweeps}) -> {Entities, Sweeps + 1};
count_row({_Batch, Marks}, {Entities, Sweeps}) -> {Entities + length(Marks), Sweeps}.

size_of(Table) ->
    case ets:info(Table, size) of
        undefined -> 0;
        Size -> Size
    end.

%% ---- for the conveyor

%% @doc Make dirty again what a previous conveyor had under way.
-spec open(convex_sidecar_instance:info()) -> marks().
open(#{flags := Flags, flight := Flight} = Info) ->
    atomics:put(Flags, ?IDLE, 0),
    lists:foreach(fun(Row) -> landed(Row, Info) end, ets:tab2list(Flight)),
    #marks{info = Info}.

%% @doc Whether there is anything to take.
-spec has_work(marks()) -> boolean().
has_work(Marks) -> count(Marks) > 0 orelse is_sweeping(Marks).

%% @doc How many entities are marked.
-spec count(marks()) -> non_neg_integer().
count(#marks{info = #{dirty := Dirty}}) -> ets:info(Dirty, size).

%% @doc Whether a sweep is under way or waiting.
-spec is_sweeping(marks()) -> boolean().
is_sweeping(#marks{sweep = #sweep{}}) -> true;
is_sweeping(#marks{info = #{sweeps := Sweeps}}) -> ets:info(Sweeps, size) > 0.

%% @doc Have the next mark wake the caller; false: there is work already.
-spec doze(marks()) -> boolean().
doze(#marks{info = #{flags := Flags}} = Marks) ->
    %% The flag is set before the last check: a mark made before it is seen here, and one made
    %% after it sends a wake-up.  A mark whose entity is under way waits for the end of that batch.
    atomics:put(Flags, ?IDLE, 1),
    Work = is_sweeping(Marks) orelse has_free(Marks),
    not (Work andalso atomics:compare_exchange(Flags, ?IDLE, 1, 0) =:= ok).

has_free(#marks{info = #{dirty := Dirty}} = Marks) -> has_free(ets:first(Dirty), Marks).

has_free('$end_of_table', _Marks) ->
    false;
has_free({Key, _} = Mark, #marks{info = #{dirty := Dirty}} = Marks) ->
    not is_under_way(Key, Marks) orelse has_free(ets:next(Dirty, Mark), Marks).

%% @doc Take at most Max entities as one batch; settle/2 ends it.  When no mark is left to
%% take, ids from a sweep (the second list) fill the batch up.
-spec take(pos_integer(), marks()) -> {batch(), [mark()], [mark()], marks()}.
take(Max, #marks{cursor = Cursor, next_batch = Batch} = Marks0) ->
    %% One round: from the cursor to the end, then from the start.
    Ends =
        case Cursor of
            start -> 1;
            _ -> 2
        end,
    {Taken, Marks} = take_marked(Ends, Max, Batch, [], Marks0#marks{next_batch = Batch + 1}),
    case length(Taken) < Max andalso not has_free(Marks) of
        true ->
            {All, Swept} = take_swept(Max, Batch, Taken, Marks),
            {Batch, Taken, lists:nthtail(length(Taken), All), Swept};
        false ->
            {Batch, Taken, [], Marks}
    end.

%% Starts at the cursor, so that entities marked again and again do not starve the others.  What is
%% under way stays in the table.
take_marked(Ends, Max, Batch, Taken, Marks) ->
    case next_marked(Max, Marks) of
        {Found, Cursor} ->
            %% Found is sorted, so an entity marked by several sources is taken once.
            Busy = batches(Marks),
            Free = [Mark || {Key, _} = Mark <- lists:ukeysort(1, Found), not is_in(Key, Busy)],
            Some = lists:sublist(Free, Max - length(Taken)),
            All = Taken ++ Some,
            Next = under_way(Batch, Some, All, Marks#marks{cursor = Cursor}),
            case length(All) < Max of
                true -> take_marked(Ends, Max, Batch, All, Next);
                false -> {All, Next}
            end;
        '$end_of_table' when Ends > 1 ->
            take_marked(Ends - 1, Max, Batch, Taken, Marks#marks{cursor = start});
        '$end_of_table' ->
            {Taken, Marks#marks{cursor = start}}
    end.

%% The cursor into the ordered_set is the last key read: marks may come and go meanwhile.
next_marked(Max, #marks{cursor = start, info = #{dirty := Dirty}}) ->
    ets:select(Dirty, [{{'$1'}, [], ['$1']}], Max);
next_marked(_Max, #marks{cursor = Cursor}) ->
    ets:select(Cursor).

is_under_way(Key, Marks) -> is_in(Key, batches(Marks)).

batches(#marks{under_way = Batches}) -> maps:values(Batches).

is_in(_Key, []) -> false;
is_in(Key, [Keys | _]) when is_map_key(Key, Keys) -> true;
is_in(Key, [_ | Batches]) -> is_in(Key, Batches).

%% The batch is now `All'.  `Some' is new in it, and is in flight before it leaves the dirty table.
under_way(_Batch, [], _All, Marks) ->
    Marks;
under_way(Batch, Some, All, #marks{info = #{dirty := Dirty, flight := Flight}, under_way = Batches} = Marks) ->
    ets:insert(Flight, {Batch, All}),
    lists:foreach(fun(Mark) -> ets:delete(Dirty, Mark) end, Some),
    Marks#marks{under_way = Batches#{Batch => maps:from_keys([Key || {Key, _} <- All], true)}}.

%% Takes ids from the sweep, page by page; those under way are marked instead.
take_swept(Max, Batch, Taken, Marks0) when length(Taken) < Max ->
    case next_swept(Max - length(Taken), Marks0) of
        {[], Marks} ->
            {Taken, Marks};
        {Found, Marks} ->
            {Busy, Free} = lists:partition(fun({Key, _}) -> is_under_way(Key, Marks) end, Found),
            lists:foreach(fun(Mark) -> again(Mark, Marks) end, Busy),
            All = Taken ++ Free,
            take_swept(Max, Batch, All, under_way(Batch, Free, All, Marks))
    end;
take_swept(_Max, _Batch, Taken, Marks) ->
    {Taken, Marks}.

next_swept(Max, #marks{sweep = undefined, info = #{name := Name, sweeps := Sweeps}} = Marks) ->
    case ets:first(Sweeps) of
        '$end_of_table' ->
            {[], Marks};
        {Kind, _} = Key ->
            [{_, Why}] = ets:lookup(Sweeps, Key),
            ets:insert(Sweeps, {Key, sweeping}),
            sweep_said(Why, Kind, Name),
            next_swept(Max, begin_sweep(Why, Key, Marks))
    end;
next_swept(Max, #marks{sweep = #sweep{key = {Kind, Source}, ids = [_ | _] = Ids} = Sweep} = Marks) ->
    {Some, Rest} = lists:split(min(Max, length(Ids)), Ids),
    Found = [{{Kind, Id}, Source} || Id <- Some],
    {Found, Marks#marks{sweep = Sweep#sweep{ids = Rest, last = lists:last(Some)}}};
next_swept(Max, #marks{sweep = #sweep{key = Key, changed = true}, info = #{sweeps := Sweeps}} = Marks) ->
    ets:delete_object(Sweeps, {Key, sweeping}),
    next_swept(Max, Marks#marks{sweep = undefined});
next_swept(Max, #marks{sweep = #sweep{key = {Kind, {Module, Arg}} = Key, last = Last} = Sweep} = Marks) ->
    #marks{info = #{name := Name, sweeps := Sweeps}} = Marks,
    try Module:ids(Kind, Last, ?SWEEP_PAGE, Arg) of
        [] ->
            %% Unless it has become `pending' meanwhile: then it starts again.
            ets:delete_object(Sweeps, {Key, sweeping}),
            convex_sidecar_instance:log(info, <<"conveyor.swept">>, "kind=~ts", [Kind], Name),
            next_swept(Max, Marks#marks{sweep = undefined});
        Ids ->
            next_swept(Max, Marks#marks{sweep = Sweep#sweep{ids = Ids}})
    catch
        Class:Reason ->
            convex_sidecar_source:failed(Class, Reason, Kind, <<"*">>, Name),
            Waits = later_sweep(Key, Marks),
            ets:delete(Sweeps, Key),
            {[], Waits#marks{sweep = undefined}}
    end.

sweep_said({changed, _}, _Kind, _Name) ->
    ok;
sweep_said(Why, Kind, Name) ->
    Level =
        case Why of
            asked -> info;
            _ -> warning
        end,
    convex_sidecar_instance:log(Level, <<"conveyor.sweep">>, "kind=~ts all entities are looked at", [Kind], Name).

begin_sweep({changed, Ms}, {Kind, Source} = Key, #marks{info = #{name := Name}} = Marks) ->
    Ids =
        try
            changed_since(Kind, Source, Ms)
        catch
            %% The source is asked again next time.
            Class:Reason ->
                convex_sidecar_source:failed(Class, Reason, Kind, <<"*">>, Name),
                []
        end,
    Marks#marks{sweep = #sweep{key = Key, ids = Ids, changed = true}};
begin_sweep(asked, Key, #marks{swept = Swept} = Marks) when map_size(Swept) < ?MAX_SWEEPS ->
    Marks#marks{sweep = #sweep{key = Key}, swept = Swept#{Key => true}};
begin_sweep(_Why, Key, Marks) ->
    Marks#marks{sweep = #sweep{key = Key}}.

%% With more ids than that, the oldest changes, which earlier sweeps have seen, are left out first.
changed_since(Kind, {Module, Arg} = Source, Ms) ->
    Since = erlang:system_time(millisecond) - Ms,
    case Module:changed_since(Kind, Since, ?CHANGED, Arg) of
        {more, _Ids} when Ms > ?CHANGED_MIN_MS -> changed_since(Kind, Source, Ms div 2);
        {_, Ids} -> Ids
    end.

%% @doc Flag a sweep over what has changed in the last Ms, for all kinds that were swept before and whose
%% source can list changes.
-spec sweep_changed(pos_integer(), marks()) -> ok.
sweep_changed(Ms, #marks{swept = Swept, info = #{sweeps := Sweeps}}) ->
    maps:foreach(
        fun({_Kind, {Module, _Arg}} = Key, true) ->
            erlang:function_exported(Module, changed_since, 4) andalso ets:insert_new(Sweeps, {Key, {changed, Ms}})
        end,
        Swept
    ).

%% @doc Whether the entity is marked or under way.
-spec is_busy(mark(), marks()) -> boolean().
is_busy({Key, _} = Mark, #marks{info = #{dirty := Dirty}} = Marks) ->
    ets:member(Dirty, Mark) orelse is_under_way(Key, Marks).

%% @doc Flag a sweep over the kind that no caller asked for.
-spec sweep_again(sweep_key(), marks()) -> true.
sweep_again(Key, #marks{info = #{sweeps := Sweeps}}) -> ets:insert(Sweeps, {Key, pending}).

%% @doc Make the entity dirty again.
-spec again(mark(), marks()) -> boolean().
again(Mark, #marks{info = #{dirty := Dirty}}) -> ets:insert_new(Dirty, {Mark}).

%% @doc Give back entities of the batch that were not read: they may be taken again.
-spec give_back([mark()], batch(), marks()) -> marks().
give_back(Some, Batch, #marks{under_way = Batches} = Marks) ->
    lists:foreach(fun(Mark) -> again(Mark, Marks) end, Some),
    #{Batch := Keys} = Batches,
    Marks#marks{under_way = Batches#{Batch := maps:without([Key || {Key, _} <- Some], Keys)}}.

%% @doc End the batch: every entity in it is done, marked again, or waits.
-spec settle(batch(), marks()) -> marks().
settle(Batch, #marks{info = #{flight := Flight}, under_way = Batches} = Marks) ->
    ets:delete(Flight, Batch),
    Marks#marks{under_way = maps:remove(Batch, Batches)}.

%% ---- entities that wait because their source raised

%% @doc Keep the entity until the next later_again/1, which makes it dirty again.
-spec later(mark(), marks()) -> marks().
later({{Kind, _}, Source} = Mark, #marks{later = Later, info = Info} = Marks) ->
    #{dirty_limit := Limit, flight := Flight} = Info,
    case map_size(Later) >= Limit of
        true ->
            later_sweep({Kind, Source}, Marks);
        false ->
            ets:insert(Flight, {{later, Mark}, [Mark]}),
            Marks#marks{later = Later#{Mark => true}}
    end.

later_sweep(Key, #marks{later_sweeps = Later, info = #{flight := Flight}} = Marks) ->
    ets:insert(Flight, {{sweep, Key}, [Key]}),
    Marks#marks{later_sweeps = Later#{Key => true}}.

%% @doc Whether anything waits.
-spec has_later(marks()) -> boolean().
has_later(#marks{later = Later, later_sweeps = Sweeps}) -> map_size(Later) + map_size(Sweeps) > 0.

%% @doc Make everything that waits dirty again.
-spec later_again(marks()) -> marks().
later_again(#marks{later = Later, later_sweeps = Sweeps, info = Info} = Marks) ->
    maps:foreach(fun(Mark, true) -> landed({{later, Mark}, [Mark]}, Info) end, Later),
    maps:foreach(fun(Key, true) -> landed({{sweep, Key}, [Key]}, Info) end, Sweeps),
    Marks#marks{later = #{}, later_sweeps = #{}}.

%% Returns a row of the flight table to the dirty table.
landed({{sweep, Key} = Row, _}, #{sweeps := Sweeps, flight := Flight}) ->
    ets:insert(Sweeps, {Key, pending}),
    ets:delete(Flight, Row);
landed({Row, Some}, #{dirty := Dirty, flight := Flight}) ->
    lists:foreach(fun(Mark) -> ets:insert_new(Dirty, {Mark}) end, Some),
    ets:delete(Flight, Row).
