%% convex_sidecar_source - reads an event log, and hands over what is new.
%%
%% A source is {Module, Arg}; the module implements the callbacks below over the
%% source of truth (a database, a log).  The sidecar folds events itself, so an
%% entity costs its row and the events after the last one handed over.  That
%% event is remembered (a hint), or guessed to be the row's last but one; the
%% sidecar answers a wrong guess with {gap, Expected, Got}, and the events are
%% sent again from Expected.  So nothing depends on the hint being right.
%%
%% The event believed to be the last one folded is read and sent once more, and the request says where
%% the log ends: the log may have been restored, or a transaction that was read may not have been committed.
%%
%% The row is read after its events, or includes all of them: a row older than its
%% events would make a document that never existed.
%%
%% An event is sent as seq, event_type and inserted_at; payloads stay in this VM.
%% Long histories go in pages, so that no message grows without bound; a rebuild sends only the last
%% page, and the number of events before it.
-module(convex_sidecar_source).

-export([read/4, read_many/3, project/5, rebuild/5, in_transaction/1, tell/4, failed/5]).

-export_type([source/0, from/0, piece/0]).

-type source() :: {module(), term()}.
-type from() :: unknown | non_neg_integer().
-type piece() :: #{
    row := map(),
    events := [map()],
    %% the last event in `events', or undefined
    last := undefined | pos_integer(),
    %% whether the log may have events after these
    more := boolean(),
    %% a hash of the row and the last event
    seen := convex_sidecar_looks:seen(),
    %% options for the request, besides the caller's own
    options := #{row_version => non_neg_integer(), after_seq => pos_integer(), log_end => non_neg_integer(), reset => true, unless_ahead => true}
}.

%% The entity's row, or `error' when there is none.  '$version' in it is not a column: it orders versions of the
%% row.  Raising means: ask again later.
-callback row(convex_sidecar:kind(), convex_sidecar:entity_id(), Arg :: term()) -> {ok, map()} | error.
%% The entity's events after Seq, ascending, at most Limit.
-callback events_after(convex_sidecar:kind(), convex_sidecar:entity_id(), Seq :: non_neg_integer(),
    Limit :: pos_integer(), Arg :: term()) -> [map()].
%% The ids that follow After in an order that the source chooses, at most Limit; [] at the end.
-callback ids(convex_sidecar:kind(), After :: undefined | convex_sidecar:entity_id(),
    Limit :: pos_integer(), Arg :: term()) -> [convex_sidecar:entity_id()].
%% Reports the result for an entity that went through the asynchronous form.  Without this callback the
%% sidecar returns no result (return => none), which saves a tenth of this VM's CPU time.
-callback done(convex_sidecar:kind(), convex_sidecar:entity_id(),
    {ok, convex_sidecar:result()} | {error, term()}, DurationMs :: non_neg_integer(), Arg :: term()) ->
    term().
%% Whether the source reads many entities at once, by the next two callbacks.
-callback many(Arg :: term()) -> boolean().
%% The rows of those that exist.
-callback rows(convex_sidecar:kind(), [convex_sidecar:entity_id()], Arg :: term()) ->
    #{convex_sidecar:entity_id() => map()}.
%% As events_after for each, at most Limit per entity; one without events may be missing.
-callback events_of(convex_sidecar:kind(), [{convex_sidecar:entity_id(), Seq :: non_neg_integer()}],
    Limit :: pos_integer(), Arg :: term()) -> #{convex_sidecar:entity_id() => [map()]}.
%% Options of the protocol for each request of the asynchronous form.
-callback options(Arg :: term()) -> #{atom() => term()}.
%% Whether the calling process is inside a transaction of the source's database.
-callback in_transaction(Arg :: term()) -> boolean().
%% The ids of at most Limit entities whose row changed at that time (milliseconds since 1970) or later, the
%% oldest change first, and whether there may be more.
-callback changed_since(convex_sidecar:kind(), SinceMs :: integer(), Limit :: pos_integer(), Arg :: term()) ->
    {all | more, [convex_sidecar:entity_id()]}.
-optional_callbacks([options/1, done/5, many/1, rows/3, events_of/4, in_transaction/1, changed_since/4]).

%% The minimum interval between two log lines.
-define(FAILED_EVERY_MS, 10000).
-define(PAGE, 5000).
%% A key beside the columns of a row: what orders its versions, where the source knows.
-define(VERSION, '$version').
%% How many events of one entity are read together with those of others; an entity with more is read alone.
-define(SHARED_PAGE, 32).
%% Consecutive `gap' answers before the log itself is taken to have a hole.
-define(MAX_GAPS, 3).

%% @doc Read the next piece of an entity's history after the event `From'.
-spec read(source(), convex_sidecar:kind(), convex_sidecar:entity_id(), from()) -> {ok, piece()} | not_found.
read({Module, Arg} = Source, Kind, Id, unknown) ->
    case Module:row(Kind, Id, Arg) of
        {ok, Row} -> read_guessing(Source, Kind, Id, Row, seq(latest_seq, Row));
        error -> not_found
    end;
read({Module, Arg} = Source, Kind, Id, From) ->
    Events = Module:events_after(Kind, Id, before(From), ?PAGE, Arg),
    case Module:row(Kind, Id, Arg) of
        {ok, Row} -> {ok, held(Events, From, Row, Source, Kind, Id)};
        error -> not_found
    end.

%% The event that is believed to be folded is read once more: it may no longer exist.
before(From) -> max(0, From - 1).

%% Compares what the log has with the belief that everything up to From is folded.
held([Event | _] = Events, From, Row, {Module, Arg}, Kind, Id) ->
    First = seq(seq, Event),
    Piece = piece(Row, Events),
    %% A log that begins only after From (its early events were pruned) has no hole there: the fold
    %% starts with its first event, as in a rebuild.
    case First =< From + 1 orelse (From > 0 andalso not begins_with(First, Module, Kind, Id, Arg)) of
        true ->
            says_end(Piece);
        false ->
            begins_late(Kind, Id, First),
            with(#{reset => true, unless_ahead => true}, Piece)
    end;
held([], From, Row, Source, Kind, Id) ->
    case seq(latest_seq, Row) of
        %% All events were pruned, or the kind has none.
        Latest when not is_integer(Latest); Latest >= From -> with(after_seq(From), piece(Row, []));
        Latest -> shorter(Latest, Row, Source, Kind, Id)
    end.

%% Logged once per fold, which then continues from that event.
begins_late(Kind, Id, First) ->
    logger:info("source.begins_late kind=~ts id=~ts first=~b", [Kind, convex_sidecar_instance:word(Id), First], #{
        domain => [convex_sidecar], event => <<"source.begins_late">>
    }).

begins_with(First, Module, Kind, Id, Arg) ->
    case Module:events_after(Kind, Id, 0, 1, Arg) of
        [Event | _] -> seq(seq, Event) =:= First;
        [] -> false
    end.

%% The log and the row both end before what is believed to be folded: the log was restored, or a
%% transaction that was read has not been committed.
shorter(0, Row, _Source, _Kind, _Id) ->
    says_end(piece(Row, []));
shorter(Latest, Row, {Module, Arg}, Kind, Id) ->
    case Module:events_after(Kind, Id, Latest - 1, ?PAGE, Arg) of
        [] -> with(after_seq(Latest), piece(Row, []));
        Events -> says_end(piece(Row, Events))
    end.

%% A row without events says what it builds on, so that a sidecar that has folded less (a new
%% store) asks for the events instead of making a document without them.
after_seq(0) -> #{};
after_seq(From) -> #{after_seq => From}.

%% Adds that the piece reaches the end of the log.
says_end(#{more := true} = Piece) ->
    Piece;
says_end(#{last := undefined, row := Row} = Piece) ->
    case seq(latest_seq, Row) of
        0 -> with(#{log_end => 0}, Piece);
        _ -> Piece
    end;
says_end(#{last := Last} = Piece) ->
    with(#{log_end => Last}, Piece).

with(Some, #{options := Options} = Piece) -> Piece#{options := maps:merge(Options, Some)}.

%% @doc Read the next piece of many entities of one kind, in a few queries for all of them; for a source that
%% supports it (many/1).  An entity that is missing in the answer, because it has many events or the guess was
%% wrong, must be read alone.  As in read/4, a row is read after its events, or includes all of them.
-spec read_many(source(), convex_sidecar:kind(), [{convex_sidecar:entity_id(), from()}]) ->
    #{convex_sidecar:entity_id() => {ok, piece()} | not_found}.
read_many({Module, Arg}, Kind, Wanted) ->
    Unknown = [Id || {Id, unknown} <- Wanted],
    Early = rows(Module, Kind, Unknown, Arg),
    Gone = maps:from_list([{Id, not_found} || Id <- Unknown, not is_map_key(Id, Early)]),
    Froms = [{Id, guess(Early, Id, From)} || {Id, From} <- Wanted, not is_map_key(Id, Gone)],
    Events = events_of(Module, Kind, Froms, Arg),
    Read = [Entity || {Id, From} <- Froms, Entity <- [{Id, From, maps:get(Id, Events, [])}], is_enough(Entity, Early)],
    {Known, Rest} = lists:partition(fun(Entity) -> knows_all(Entity, Early) end, Read),
    Late = rows(Module, Kind, [Id || {Id, _, _} <- Rest], Arg),
    maps:merge(Gone, maps:merge(pieces(Known, Early), pieces(Rest, Late))).

rows(_Module, _Kind, [], _Arg) -> #{};
rows(Module, Kind, Ids, Arg) -> Module:rows(Kind, Ids, Arg).

events_of(_Module, _Kind, [], _Arg) -> #{};
events_of(Module, Kind, Froms, Arg) -> Module:events_of(Kind, Froms, ?SHARED_PAGE, Arg).

%% After which event to read.
guess(Early, Id, unknown) ->
    case seq(latest_seq, maps:get(Id, Early)) of
        Latest when is_integer(Latest), Latest >= 1 -> Latest - 1;
        _ -> 0
    end;
guess(_Early, _Id, From) ->
    before(From).

%% Not if there may be more events, or if the log does not continue where it should.
is_enough({_Id, _From, Events}, _Early) when length(Events) >= ?SHARED_PAGE -> false;
is_enough({Id, From, []}, Early) -> From =:= 0 andalso is_map_key(Id, Early);
is_enough({_Id, From, [First | _]}, _Early) -> seq(seq, First) =:= From + 1.

%% The row, which was read before the events, already includes them all.
knows_all({Id, _From, [_ | _] = Events}, Early) when is_map_key(Id, Early) ->
    seq(seq, lists:last(Events)) =:= seq(latest_seq, maps:get(Id, Early));
knows_all(_Entity, _Early) ->
    false.

pieces(Entities, Rows) ->
    maps:from_list([
        case Rows of
            #{Id := Row} -> {Id, {ok, says_end(piece(Row, Events))}};
            #{} -> {Id, not_found}
        end
     || {Id, _From, Events} <- Entities
    ]).

%% The row counts n events: most likely the sidecar lacks only the last.  If the log
%% has no event there, the row is ahead of it, and the guess is worthless.
read_guessing({Module, Arg} = Source, Kind, Id, Row, Latest) when is_integer(Latest), Latest >= 1 ->
    case Module:events_after(Kind, Id, Latest - 1, ?PAGE, Arg) of
        [] ->
            read(Source, Kind, Id, 0);
        Events ->
            #{last := Last} = Piece = piece(Row, Events),
            case Last > Latest of
                true -> read(Source, Kind, Id, Latest - 1);
                false -> {ok, says_end(Piece)}
            end
    end;
read_guessing(Source, Kind, Id, _Row, _Latest) ->
    read(Source, Kind, Id, 0).

piece(Row, Events) ->
    Last =
        case Events of
            [] -> undefined;
            _ -> seq(seq, lists:last(Events))
        end,
    Slim = lists:map(fun slim/1, Events),
    Seen = erlang:phash2({Row, [lists:last(Slim) || Last =/= undefined]}, 1 bsl 32),
    Piece = #{row => Row, events => Slim, last => Last, more => length(Events) >= ?PAGE, seen => Seen, options => #{}},
    case maps:take(?VERSION, Row) of
        {Version, Columns} -> Piece#{row := Columns, options := #{row_version => Version}};
        error -> Piece
    end.

slim(#{seq := Seq, event_type := Type, inserted_at := At}) ->
    #{seq => Seq, event_type => Type, inserted_at => At};
slim(Event) ->
    maps:with(
        [seq, event_type, inserted_at, <<"seq">>, <<"event_type">>, <<"inserted_at">>], Event
    ).

seq(Key, Map) ->
    case Map of
        #{Key := Seq} when is_integer(Seq) -> Seq;
        _ -> maps:get(atom_to_binary(Key), Map, undefined)
    end.

%% @doc Report the result for an entity to the source, if it has the callback.
-spec tell(convex_sidecar_marks:mark(), {ok, convex_sidecar:result()} | {error, term()}, non_neg_integer(),
    convex_sidecar_instance:name()) -> term().
tell({{Kind, Id}, {Module, Arg}}, Outcome, Ms, Name) ->
    try
        erlang:function_exported(Module, done, 5) andalso Module:done(Kind, Id, Outcome, Ms, Arg)
    catch
        Class:Reason -> failed(Class, Reason, Kind, Id, Name)
    end.

%% @doc Log that a callback of the source raised: one line every ten seconds, with the number of failures that were
%% not logged.  An event log that fails, fails for every entity that waits.
-spec failed(error | exit | throw, term(), convex_sidecar:kind(), binary(), convex_sidecar_instance:name()) -> ok.
failed(Class, Reason, Kind, Id, Name) ->
    case unsaid(Name) of
        held_back ->
            ok;
        Unsaid ->
            Args = [Kind, convex_sidecar_instance:word(Id), Unsaid, Class, Reason],
            Format = "kind=~ts id=~ts held_back=~b ~ts:~0tp",
            convex_sidecar_instance:log(error, <<"conveyor.source_failed">>, Format, Args, Name)
    end.

unsaid(Name) ->
    Now = erlang:monotonic_time(millisecond),
    convex_sidecar_instance:with_tables(Name, 0, fun(#{state := Table}) ->
        case ets:lookup(Table, source_failed) of
            [{_, Until, _}] when Now < Until ->
                _ = ets:update_counter(Table, source_failed, {3, 1}),
                held_back;
            Before ->
                ets:insert(Table, {source_failed, Now + ?FAILED_EVERY_MS, 0}),
                lists:sum([Count || {_, _, Count} <- Before])
        end
    end).

%% @doc Project an entity and wait for the answer to its last page.  `Options' are those of
%% convex_sidecar:project/6.  What fails because the sidecar is down, busy or failing is also
%% marked for the conveyor (if `Server' is an instance), so it is not lost.
-spec project(convex_sidecar:server(), source(), convex_sidecar:kind(), convex_sidecar:entity_id(),
    convex_sidecar:options()) -> {ok, convex_sidecar:result()} | {error, term()}.
project(Server, Source, Kind, Id, Options) ->
    From = convex_sidecar_instance:hint(Server, Kind, Id),
    Answer = pages(Server, Source, Kind, Id, From, options(Options), 0),
    look_again(Answer, Server, Source, Kind, Id),
    Answer.

%% @doc Whether the calling process is inside a transaction of the source's database.
-spec in_transaction(source()) -> boolean().
in_transaction({Module, Arg}) ->
    try
        erlang:function_exported(Module, in_transaction, 1) andalso Module:in_transaction(Arg)
    catch
        %% A database that is not started has no transaction, and this question must not fail an append.
        _:_ -> false
    end.

%% @doc Project an entity from its first event, forgetting what was folded before, in one request.  The
%% earlier pages of a long history are only counted here, so the document never shows a part of it, and
%% nothing is left half done if this process dies.  With `force => true' the document is written even if
%% it is unchanged, with `clear => DocumentId' it is removed first.
%%
%% Live projections go on meanwhile and the newest wins: the sidecar skips (unless_ahead) what is older
%% than what it has.  Then either the log has got more events meanwhile, and is read again, or its history
%% was corrected to fewer, and the document's seq has to be lowered.
-spec rebuild(convex_sidecar:server(), source(), convex_sidecar:kind(), convex_sidecar:entity_id(),
    convex_sidecar:options()) -> {ok, convex_sidecar:result()} | {error, term()}.
rebuild(Server, Source, Kind, Id, Options) ->
    {Clear, Opts} = take(clear, options(Options)),
    Answer =
        case cleared(Server, Source, Kind, Id, Clear, Opts) of
            ok -> rebuild_from(0, Server, Source, Kind, Id, Opts);
            {error, _} = Error -> Error
        end,
    look_again(Answer, Server, Source, Kind, Id),
    Answer.

%% `Seen' is the last event of the history that turned out to be too old.
rebuild_from(Seen, Server, Source, Kind, Id, Opts) ->
    case whole(Source, Kind, Id, 0, 0) of
        {ok, #{last := Last} = Piece, Before} ->
            Rebuild = Opts#{reset => true, unless_ahead => true},
            case rebuild_once(Piece, Before, Server, Kind, Id, Rebuild) of
                {ok, #{write := <<"skipped">>, reason := <<"checkpoint_ahead">>}} when Last > Seen ->
                    rebuild_from(Last, Server, Source, Kind, Id, Opts);
                {ok, #{write := <<"skipped">>, reason := <<"checkpoint_ahead">>}} ->
                    lowered(
                        rebuild_once(Piece, Before, Server, Kind, Id, Rebuild#{unless_ahead => false}),
                        Server, Source, Kind, Id, Last, maps:remove(force, Opts)
                    );
                Answer ->
                    Answer
            end;
        not_found ->
            {error, not_found};
        {error, _} = Error ->
            Error
    end.

%% Lowering also undoes what was appended and projected between the two requests, so that is projected once more.
lowered({ok, _} = Ok, Server, Source, Kind, Id, Last, Opts) ->
    case pages(Server, Source, Kind, Id, Last, Opts, 0) of
        {ok, _} -> Ok;
        {error, _} = Error -> Error
    end;
lowered({error, _} = Error, _Server, _Source, _Kind, _Id, _Last, _Opts) ->
    Error.

rebuild_once(#{row := Row, events := Events, last := Last, options := Own}, Before, Server, Kind, Id, Opts) ->
    Counted =
        case Before of
            0 -> maps:merge(Opts, Own);
            _ -> maps:merge(Opts, Own#{events_before => Before})
        end,
    convex_sidecar_instance:forget(Server, Kind, Id),
    Answer = ask(Server, Kind, Id, Row, Events, Counted),
    case Answer of
        {ok, #{reason := <<"checkpoint_ahead">>, write := <<"skipped">>}} -> ok;
        {ok, _} when Last > 0 -> convex_sidecar_instance:remember(Server, Kind, Id, Last);
        _ -> ok
    end,
    Answer.

%% The last page of a history and the number of events before it.  The earlier pages are checked
%% for holes here, the last one by the sidecar.
whole(Source, Kind, Id, From, Before) ->
    case read_after(Source, Kind, Id, From) of
        {ok, #{more := true, events := Events, last := Last} = Piece} ->
            case hole(Events, From) of
                none -> rest(Piece, Source, Kind, Id, Last, Before + length(Events));
                Gap -> {error, Gap}
            end;
        {ok, #{events := [First | _], last := Last} = Piece} ->
            case hole([First], From) of
                none -> {ok, Piece#{last := Last}, Before};
                Gap -> {error, Gap}
            end;
        {ok, #{events := []} = Piece} ->
            {ok, Piece#{last := From}, Before};
        not_found ->
            not_found
    end.

read_after({Module, Arg}, Kind, Id, From) ->
    Events = Module:events_after(Kind, Id, From, ?PAGE, Arg),
    case Module:row(Kind, Id, Arg) of
        {ok, Row} -> {ok, piece(Row, Events)};
        error -> not_found
    end.

%% Reads the page after a full one; if it is empty, the full page was the last.
rest(#{events := Events, last := Last} = Piece, Source, Kind, Id, Last, Before) ->
    case whole(Source, Kind, Id, Last, Before) of
        {ok, #{events := [], row := Row}, _} ->
            {ok, Piece#{row := Row}, Before - length(Events)};
        Other ->
            Other
    end.

%% The first event may have any seq; each of the others has the previous seq plus one.
hole([], _Last) ->
    none;
hole([Event | Events], Last) ->
    case seq(seq, Event) of
        Seq when Seq =:= Last + 1; Last =:= 0 -> hole(Events, Seq);
        Seq -> {gap, Last + 1, Seq}
    end.

cleared(_Server, _Source, _Kind, _Id, undefined, _Opts) ->
    ok;
cleared(Server, {Module, Arg}, Kind, Id, DocumentId, Opts) ->
    %% An entity without history is not removed here; an operator clears it.
    case Module:row(Kind, Id, Arg) of
        error ->
            {error, not_found};
        {ok, _} ->
            Call = maps:merge(#{timeout => 5000}, maps:with([timeout, wait], Opts)),
            case convex_sidecar:clear(Server, DocumentId, Call) of
                {ok, _} -> ok;
                {error, not_found} -> ok;
                {error, _} = Error -> Error
            end
    end.

take(Key, Map) ->
    case maps:take(Key, Map) of
        {Value, Rest} -> {Value, Rest};
        error -> {undefined, Map}
    end.

pages(Server, Source, Kind, Id, From, Options, Gaps) ->
    case read(Source, Kind, Id, From) of
        not_found -> {error, not_found};
        {ok, Piece} -> page(Piece, Server, Source, Kind, Id, Options, Gaps)
    end.

page(#{row := Row, events := Events, last := Last, more := More} = Piece, Server, Source, Kind, Id, Options, Gaps) ->
    Own = maps:get(options, Piece),
    case ask(Server, Kind, Id, Row, Events, maps:merge(Options, Own)) of
        {ok, Result} = Ok ->
            _ = [convex_sidecar_instance:remember(Server, Kind, Id, Last) || Last =/= undefined],
            case More of
                true ->
                    pages(Server, Source, Kind, Id, Last, maps:remove(reset, Options), 0);
                false ->
                    handed_over(Result, Server, {{Kind, Id}, Source}, maps:get(seen, Piece)),
                    Ok
            end;
        {error, {gap, Expected, _Got}} when Gaps < ?MAX_GAPS, is_integer(Expected), Expected > 0 ->
            convex_sidecar_instance:forget(Server, Kind, Id),
            pages(Server, Source, Kind, Id, Expected - 1, Options, Gaps + 1);
        {error, _} = Error ->
            Error
    end.

%% Leaves out the options that a program older than this package has refused.
ask(Server, Kind, Id, Row, Events, Options) ->
    Known = convex_sidecar_instance:known_options(Server, Options),
    case convex_sidecar:project(Server, Kind, Id, Row, Events, Known) of
        {error, Reason} = Error ->
            case convex_sidecar_instance:is_older(Server, Reason) of
                true -> convex_sidecar:project(Server, Kind, Id, Row, Events, convex_sidecar_instance:known_options(Server, Options));
                false -> Error
            end;
        Answer ->
            Answer
    end.

%% Has the conveyor look at the entity later; if it has to wait for the log, look_again has marked it.
handed_over(#{reason := <<"checkpoint_ahead">>, write := <<"skipped">>}, _Server, _Mark, _Seen) ->
    ok;
handed_over(_Result, Name, {_, Source} = Mark, Seen) when is_atom(Name) ->
    convex_sidecar_looks:ask(Name, Mark, Seen, in_transaction(Source));
handed_over(_Result, _Elsewhere, _Mark, _Seen) ->
    ok.

%% Two processes may project one entity at the same moment and hand their rows over in
%% either order.  The older row then gets summary_hash_mismatch (same events, another
%% row).  The conveyor, which reads each entity in one process, corrects this by reading it
%% again; and where the log ends before what was folded, it waits for the log.
look_again({ok, #{reason := Reason}}, Name, Source, Kind, Id) when
    is_atom(Name), Reason =:= <<"summary_hash_mismatch">> orelse Reason =:= <<"checkpoint_ahead">>
->
    mark(Name, Source, Kind, Id);
look_again({error, Reason}, Name, Source, Kind, Id) when is_atom(Name) ->
    case convex_sidecar:is_passing(Reason) of
        true -> mark(Name, Source, Kind, Id);
        false -> ok
    end;
look_again(_Answer, _Server, _Source, _Kind, _Id) ->
    ok.

mark(Name, Source, Kind, Id) ->
    _ = convex_sidecar_marks:mark(Name, Kind, Id, Source),
    ok.

options(Options) when is_map(Options) -> Options;
options(Options) -> proplists:to_map(Options).
