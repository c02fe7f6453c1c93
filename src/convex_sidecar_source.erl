%% convex_sidecar_source - reads an event log, and hands over what is new.
%%
%% A source is {Module, Arg}; the module implements the callbacks below over the
%% truth (a database, a log).  The sidecar folds events itself, so an entity
%% costs its row and the events after the last one handed over.  Which one that
%% was is remembered (a hint), else guessed to be the row's last but one; the
%% sidecar answers a wrong guess with {gap, Expected, Got}, and the events are
%% sent again from Expected.  So nothing depends on the memory being right.
%%
%% The row is read after the events: a row older than its events would be a
%% document that never was.
%%
%% An event goes over as seq, event_type and inserted_at; payloads stay here.
%% Long histories go in pages, so that no message grows without bound.
-module(convex_sidecar_source).

-export([read/4, project/5, rebuild/5]).

-export_type([source/0, from/0, piece/0]).

-type source() :: {module(), term()}.
-type from() :: unknown | non_neg_integer().
-type piece() :: #{
    row := map(),
    events := [map()],
    %% the last event in `events', or undefined
    last := undefined | pos_integer(),
    %% whether the log may hold events after these
    more := boolean()
}.

%% The entity's row, or `error' when there is none.  Raising means: ask again later.
-callback row(convex_sidecar:kind(), convex_sidecar:entity_id(), Arg :: term()) -> {ok, map()} | error.
%% Its events after Seq, ascending, at most Limit.
-callback events_after(convex_sidecar:kind(), convex_sidecar:entity_id(), Seq :: non_neg_integer(),
    Limit :: pos_integer(), Arg :: term()) -> [map()].
%% The ids after After in an order of the source's own, at most Limit; [] at the end.
-callback ids(convex_sidecar:kind(), After :: undefined | convex_sidecar:entity_id(),
    Limit :: pos_integer(), Arg :: term()) -> [convex_sidecar:entity_id()].
%% What became of an entity that went through the asynchronous form.
-callback done(convex_sidecar:kind(), convex_sidecar:entity_id(),
    {ok, convex_sidecar:result()} | {error, term()}, DurationMs :: non_neg_integer(), Arg :: term()) ->
    term().
-optional_callbacks([done/5]).

-define(PAGE, 5000).
%% Answers `gap' in a row before the log itself is taken to have the hole.
-define(MAX_GAPS, 3).

%% @doc The next piece of an entity's history after the event `From'.
-spec read(source(), convex_sidecar:kind(), convex_sidecar:entity_id(), from()) -> {ok, piece()} | not_found.
read({Module, Arg} = Source, Kind, Id, unknown) ->
    case Module:row(Kind, Id, Arg) of
        {ok, Row} -> read_guessing(Source, Kind, Id, Row, seq(latest_seq, Row));
        error -> not_found
    end;
read({Module, Arg}, Kind, Id, From) ->
    Events = Module:events_after(Kind, Id, From, ?PAGE, Arg),
    case Module:row(Kind, Id, Arg) of
        {ok, Row} -> {ok, piece(Row, Events)};
        error -> not_found
    end.

%% A row that says it has seen n events: most likely the sidecar lacks only the last.
%% When the log has none there, the row is ahead of it, and the guess is worth nothing.
read_guessing({Module, Arg} = Source, Kind, Id, Row, Latest) when is_integer(Latest), Latest > 1 ->
    case Module:events_after(Kind, Id, Latest - 1, ?PAGE, Arg) of
        [] ->
            read(Source, Kind, Id, 0);
        Events ->
            #{last := Last} = Piece = piece(Row, Events),
            case Last > Latest of
                true -> read(Source, Kind, Id, Latest - 1);
                false -> {ok, Piece}
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
    #{row => Row, events => lists:map(fun slim/1, Events), last => Last, more => length(Events) >= ?PAGE}.

slim(Event) ->
    maps:with(
        [seq, event_type, inserted_at, <<"seq">>, <<"event_type">>, <<"inserted_at">>], Event
    ).

seq(Key, Map) ->
    case Map of
        #{Key := Seq} when is_integer(Seq) -> Seq;
        _ -> maps:get(atom_to_binary(Key), Map, undefined)
    end.

%% @doc Project an entity and wait for the answer to its last page.  `Options' as for
%% convex_sidecar:project/6.  What fails because the sidecar is away, busy or ill is left to
%% the conveyor as well (when `Server' is an instance), so it is not lost.
-spec project(convex_sidecar:server(), source(), convex_sidecar:kind(), convex_sidecar:entity_id(),
    convex_sidecar:options()) -> {ok, convex_sidecar:result()} | {error, term()}.
project(Server, Source, Kind, Id, Options) ->
    From = convex_sidecar_instance:hint(Server, Kind, Id),
    Answer = pages(Server, Source, Kind, Id, From, options(Options), 0),
    look_again(Answer, Server, Source, Kind, Id),
    Answer.

%% @doc The same from the first event, forgetting what was folded before.  With `clear =>
%% DocumentId' the document is cleared first, so that it is written even if it is unchanged.
-spec rebuild(convex_sidecar:server(), source(), convex_sidecar:kind(), convex_sidecar:entity_id(),
    convex_sidecar:options()) -> {ok, convex_sidecar:result()} | {error, term()}.
rebuild(Server, Source, Kind, Id, Options) ->
    convex_sidecar_instance:forget(Server, Kind, Id),
    {Clear, Opts} = take(clear, options(Options)),
    Answer =
        case cleared(Server, Source, Kind, Id, Clear, Opts) of
            ok -> pages(Server, Source, Kind, Id, 0, Opts#{reset => true}, 0);
            {error, _} = Error -> Error
        end,
    look_again(Answer, Server, Source, Kind, Id),
    Answer.

cleared(_Server, _Source, _Kind, _Id, undefined, _Opts) ->
    ok;
cleared(Server, {Module, Arg}, Kind, Id, DocumentId, Opts) ->
    %% What has no history is not removed here: that is the operator's clear.
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

page(#{row := Row, events := Events, last := Last, more := More}, Server, Source, Kind, Id, Options, Gaps) ->
    case convex_sidecar:project(Server, Kind, Id, Row, Events, Options) of
        {ok, _} = Ok ->
            _ = [convex_sidecar_instance:remember(Server, Kind, Id, Last) || Last =/= undefined],
            case More of
                true -> pages(Server, Source, Kind, Id, Last, maps:remove(reset, Options), 0);
                false -> Ok
            end;
        {error, {gap, Expected, _Got}} when Gaps < ?MAX_GAPS, is_integer(Expected), Expected > 0 ->
            convex_sidecar_instance:forget(Server, Kind, Id),
            pages(Server, Source, Kind, Id, Expected - 1, Options, Gaps + 1);
        {error, _} = Error ->
            Error
    end.

%% Two processes may project one entity at the same moment and hand their rows over in
%% either order.  The loser's older row then answers summary_hash_mismatch (same events,
%% other row); looking once more, in the one process that looks alone, puts it right.
look_again({ok, #{reason := <<"summary_hash_mismatch">>}}, Name, Source, Kind, Id) when is_atom(Name) ->
    mark(Name, Source, Kind, Id);
look_again({error, Reason}, Name, Source, Kind, Id) when is_atom(Name) ->
    case convex_sidecar_conveyor:is_passing(Reason) of
        true -> mark(Name, Source, Kind, Id);
        false -> ok
    end;
look_again(_Answer, _Server, _Source, _Kind, _Id) ->
    ok.

mark(Name, Source, Kind, Id) ->
    _ = convex_sidecar_conveyor:mark(Name, Kind, Id, Source),
    ok.

options(Options) when is_map(Options) -> Options;
options(Options) -> proplists:to_map(Options).
