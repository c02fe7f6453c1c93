%% convex_sidecar_batch - the conveyor's way to the sidecar: one {batch, ...}, an answer for each entity.
%%
%% A request is the entity's row and its events since those the sidecar is believed to have
%% folded, read through the mark's source.
-module(convex_sidecar_batch).
-behaviour(convex_sidecar_conveyor).

-export([window/0, request/2, hand_over/2, answer/2]).

%% @private
%% One in the sidecar, one on its way.
window() -> 2.

%% @private
request({{Kind, Id} = Key, Source}, Info) ->
    case convex_sidecar_source:read(Source, Kind, Id, convex_sidecar_instance:hint(Info, Key)) of
        {ok, #{row := Row, events := Events, last := Last, more := More, options := Options}} ->
            Request = {project, Kind, Id, Row, Events, wanted(Source, Options)},
            {ok, #{request => Request, last => Last, more => More, events => length(Events)}};
        not_found ->
            not_found
    end.

%% Nobody hears the result: then the sidecar need not make it, nor the conveyor read it.
wanted({Module, _}, Options) ->
    case erlang:function_exported(Module, done, 5) of
        true -> Options;
        false -> Options#{return => none}
    end.

%% @private
hand_over(Name, Requests) -> convex_sidecar:send_request(Name, {batch, Requests}).

%% @private
answer(Message, Mref) -> convex_sidecar:check_response(Message, Mref).
