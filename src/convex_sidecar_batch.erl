%% convex_sidecar_batch - hands the conveyor's batches to the sidecar: one {batch, ...}, one answer for each entity.
%%
%% A request is the entity's row and the events after the last one the sidecar is believed to
%% have folded, read through the mark's source.
-module(convex_sidecar_batch).
-behaviour(convex_sidecar_conveyor).

-export([window/0, read_ahead/2, request/2, below/1, hand_over/2, answer/2]).

%% @private
%% One that the sidecar works on, one on its way.
window() -> 2.

%% @private
%% Reads all entities of one source and kind in a few queries, where the source supports it.
read_ahead(Marks, Info) ->
    Together = [Mark || {_, {Module, _}} = Mark <- Marks, erlang:function_exported(Module, many, 1)],
    Groups = maps:groups_from_list(fun({{Kind, _}, Source}) -> {Kind, Source} end, Together),
    maps:fold(fun(Of, Some, Read) -> maps:merge(Read, read_group(Of, Some, Info)) end, #{}, Groups).

read_group({Kind, {Module, Arg} = Source}, [_, _ | _] = Marks, Info) ->
    case Module:many(Arg) of
        true ->
            Wanted = [{Id, convex_sidecar_instance:hint(Info, Key)} || {{_, Id} = Key, _} <- Marks],
            Found = convex_sidecar_source:read_many(Source, Kind, Wanted),
            maps:from_list([{{{Kind, Id}, Source}, asked(Piece, Kind, Id, Source)} || {Id, Piece} <- maps:to_list(Found)]);
        false ->
            #{}
    end;
read_group(_Of, _Single, _Info) ->
    #{}.

%% @private
request({{Kind, Id} = Key, Source}, Info) ->
    asked(convex_sidecar_source:read(Source, Kind, Id, convex_sidecar_instance:hint(Info, Key)), Kind, Id, Source).

asked({ok, #{row := Row, events := Events, last := Last, more := More, seen := Seen, options := Options}}, Kind, Id, Source) ->
    Request = {project, Kind, Id, Row, Events, wanted(Source, Options)},
    {ok, #{request => Request, last => Last, more => More, events => length(Events), seen => Seen}};
asked(not_found, _Kind, _Id, _Source) ->
    not_found.

%% A source without done/5 needs no results, which spares both sides the work.
wanted({Module, Arg}, Options) ->
    Own =
        case erlang:function_exported(Module, options, 1) of
            true -> maps:merge(Options, Module:options(Arg));
            false -> Options
        end,
    case erlang:function_exported(Module, done, 5) of
        true -> Own;
        false -> Own#{return => none}
    end.

%% @private
below({project, Kind, Id, Row, Events, #{reset := true} = Options}) ->
    {project, Kind, Id, Row, Events, maps:remove(unless_ahead, Options)};
below({project, Kind, Id, Row, Events, #{log_end := _} = Options}) ->
    {project, Kind, Id, Row, Events, Options#{below => true}};
%% Without events, only the row says how far the log goes.
below({project, Kind, Id, Row, [], Options}) ->
    {project, Kind, Id, Row, [], (maps:remove(after_seq, Options))#{reset => true}};
below(Request) ->
    Request.

%% @private
hand_over(Name, Requests) ->
    Known =
        case convex_sidecar_instance:knows_all(Name) of
            true -> Requests;
            false -> [setelement(6, R, convex_sidecar_instance:known_options(Name, element(6, R))) || R <- Requests]
        end,
    convex_sidecar:send_request(Name, {batch, Known}).

%% @private
answer(Message, Mref) -> convex_sidecar:check_response(Message, Mref).
