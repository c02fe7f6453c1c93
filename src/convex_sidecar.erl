%% convex_sidecar - the client: every message of docs/PROTOCOL.md as a function.
%%
%% The first argument is the name of an instance on this node (an atom, by
%% default `convex_sidecar'), or {RegisteredName, Node} for a node this VM is
%% already connected to.
%%
%% No function here waits longer than its timeout, raises because the sidecar is
%% down, or opens a connection.  A sidecar that is down gives {error, unavailable}
%% at once (or after waiting, with `wait => true'), one that does not answer
%% {error, timeout}, and one that does not read {error, busy}.  Replies go to an
%% alias that is inactive after the call, so a late answer never reaches a mailbox.
-module(convex_sidecar).

-export([start_link/0, start_link/1, child_spec/1, stop/1, restart/1, await/2]).
-export([project/5, project/6, upsert/4, upsert/5, batch/2, batch/3]).
-export([project_async/4, project_all_async/3, settle/2, backlog/1]).
-export([health/1, state/1, checkpoint/2, clear/2, clear/3, status/1, status/2]).
-export([flush/2, pause/1, resume/1, drain/1, drain/2, reload/1]).
-export([audit/2, audit/3, audit_status/1, audit_cancel/1]).
-export([dead_list/1, dead_list/2, dead_show/2, dead_retry/2, dead_drop/2]).
-export([call/3, send_request/2, check_response/2, abandon/1, is_passing/1]).

-export_type([server/0, kind/0, entity_id/0, options/0, call_options/0, result/0, request/0, source/0]).

-type server() :: convex_sidecar_instance:name() | {atom(), node()}.
-type kind() :: atom() | binary().
-type entity_id() :: binary().
%% `timeout' and `wait' concern the call; the rest goes to the sidecar (docs/PROTOCOL.md).
-type options() :: #{atom() => term()} | [{atom(), term()}].
-type call_options() :: timeout() | #{timeout => timeout(), wait => boolean()}.
-type result() :: #{
    document_id := binary(),
    write := binary(),
    reason := nil | binary(),
    seq := integer(),
    lag_events := integer(),
    projection_hash => binary(),
    coalesced => boolean(),
    summary => map()
}.
-type request() ::
    {project, kind(), entity_id(), map(), [map()], map()} | {upsert, kind(), binary(), map(), map()}.
-type source() :: convex_sidecar_source:source().

-define(DEFAULT_MS, 5000).
%% How much longer a call waits than the deadline it gives the sidecar.
-define(GRACE_MS, 1000).
-define(DEADLINE_MS, 30000).
-define(DRAIN_MS, 10000).
%% An audit of a million documents takes some minutes.
-define(AUDIT_MS, 7200000).
%% The pause between two attempts of a call that waits for a draining or busy sidecar.
-define(AGAIN_MS, 20).

%% ---- an instance

%% @doc Start a managed instance with all defaults.
-spec start_link() -> supervisor:startlink_ret() | {error, term()}.
start_link() -> start_link([]).

%% @doc Start an instance; options: docs/CLUSTER.md, "Options of an instance".
-spec start_link(convex_sidecar_config:options() | [{atom(), term()}]) ->
    supervisor:startlink_ret() | {error, term()}.
start_link(Options) -> convex_sidecar_sup:start_link(Options).

-spec child_spec(convex_sidecar_config:options() | [{atom(), term()}]) -> supervisor:child_spec().
child_spec(Options) -> convex_sidecar_sup:child_spec(Options).

%% @doc Stop an instance that was started with start_link and no supervisor.
-spec stop(convex_sidecar_instance:name()) -> ok.
stop(Name) -> convex_sidecar_sup:stop(Name).

%% @doc Drain, stop and restart the program while the VM runs; managed mode only.
-spec restart(convex_sidecar_instance:name()) -> {ok, #{gap_ms := non_neg_integer()}} | {error, term()}.
restart(Name) -> convex_sidecar_port:restart(Name).

%% @doc Wait until the instance is up.
-spec await(convex_sidecar_instance:name(), timeout()) -> ok | {error, unavailable}.
await(Name, Timeout) -> convex_sidecar_watch:await(Name, Timeout).

%% ---- projections

-spec project(server(), kind(), entity_id(), map(), [map()]) -> {ok, result()} | {error, term()}.
project(Server, Kind, Id, Row, Events) -> project(Server, Kind, Id, Row, Events, #{}).

%% @doc Build the document of one entity from its row and its new events, and keep it.
-spec project(server(), kind(), entity_id(), map(), [map()], options()) -> {ok, result()} | {error, term()}.
project(Server, Kind, Id, Row, Events, Options) ->
    {Call, Opts} = split(Options),
    call(Server, {project, Kind, Id, Row, Events, Opts}, Call).

-spec upsert(server(), kind(), binary(), map()) -> {ok, result()} | {error, term()}.
upsert(Server, Kind, DocumentId, Summary) -> upsert(Server, Kind, DocumentId, Summary, #{}).

%% @doc Keep a finished document.
-spec upsert(server(), kind(), binary(), map(), options()) -> {ok, result()} | {error, term()}.
upsert(Server, Kind, DocumentId, Summary, Options) ->
    {Call, Opts} = split(Options),
    call(Server, {upsert, Kind, DocumentId, Summary, Opts}, Call).

-spec batch(server(), [request()]) -> {ok, [{ok, result()} | {error, term()}]} | {error, term()}.
batch(Server, Requests) -> batch(Server, Requests, ?DEFAULT_MS).

%% @doc Send many projections and upserts in one message and one commit; replies come in order.
-spec batch(server(), [request()], call_options()) ->
    {ok, [{ok, result()} | {error, term()}]} | {error, term()}.
batch(Server, Requests, Call) -> call(Server, {batch, Requests}, Call).

%% @doc The asynchronous form: the entity has changed, project it soon.  It costs the caller one
%% table insert; the conveyor reads rows and events later, through `Source'.
-spec project_async(convex_sidecar_instance:name(), kind(), entity_id(), source()) ->
    ok | {error, unavailable | busy}.
project_async(Name, Kind, Id, Source) ->
    _ = convex_sidecar_source:in_transaction(Source) andalso
        convex_sidecar_looks:ask(Name, {{Kind, Id}, Source}, transaction),
    convex_sidecar_marks:mark(Name, Kind, Id, Source).

%% @doc Project every entity of a kind that the source lists; the sidecar skips what it already has.
-spec project_all_async(convex_sidecar_instance:name(), kind(), source()) -> ok | {error, unavailable | busy}.
project_all_async(Name, Kind, Source) -> convex_sidecar_marks:mark_all(Name, Kind, Source).

%% @doc Wait until the sidecar has kept everything the asynchronous form was given (or it was given
%% up with a log line).
-spec settle(convex_sidecar_instance:name(), timeout()) -> ok | {error, timeout | unavailable}.
settle(Name, Timeout) -> convex_sidecar_conveyor:settle(Name, Timeout).

%% @doc How much the asynchronous form still has to do.
-spec backlog(convex_sidecar_instance:name()) ->
    #{dirty := non_neg_integer(), in_flight := non_neg_integer(), sweeps := non_neg_integer()}.
backlog(Name) -> convex_sidecar_marks:backlog(Name).

%% ---- state and control

%% @doc Whether requests reach the sidecar, and it delivers or will soon.  If not: why, and what to do about it.
%% Sends no request, so an application's health check may call it.
-spec health(convex_sidecar_instance:name()) ->
    ok
    | {error, {not_started | not_connected | stopped | store_failing | convex_sidecar_config:obstacle(), binary()}}.
health(Name) -> convex_sidecar_instance:health(Name).

%% @doc The state of the sidecar, its endpoint, each kind that ever failed, its mending and its store, as this VM
%% last heard it; sends no request.  Empty when there is no instance of that name.
-spec state(convex_sidecar_instance:name()) -> convex_sidecar_state:shown().
state(Name) -> convex_sidecar_state:state(Name).

-spec checkpoint(server(), binary()) -> {ok, map()} | {error, term()}.
checkpoint(Server, DocumentId) -> call(Server, {checkpoint, DocumentId}, ?DEFAULT_MS).

-spec clear(server(), binary() | {kind, kind()} | all) -> {ok, map()} | {error, term()}.
clear(Server, What) -> clear(Server, What, 30000).

%% @doc Forget checkpoints and folds, and remove the documents from Convex.
-spec clear(server(), binary() | {kind, kind()} | all, call_options()) -> {ok, map()} | {error, term()}.
clear(Server, What, Call) -> call(Server, {clear, What}, Call).

-spec status(server()) -> {ok, map()} | {error, term()}.
status(Server) -> status(Server, ?DEFAULT_MS).

-spec status(server(), call_options()) -> {ok, map()} | {error, term()}.
status(Server, Call) -> call(Server, status, Call).

%% @doc Wait until everything kept so far has been delivered or is a dead letter.
-spec flush(server(), non_neg_integer()) -> {ok, map()} | {error, term()}.
flush(Server, Ms) -> call(Server, {flush, Ms}, Ms + ?GRACE_MS).

-spec pause(server()) -> {ok, paused} | {error, term()}.
pause(Server) -> call(Server, pause, ?DEFAULT_MS).

-spec resume(server()) -> {ok, running} | {error, term()}.
resume(Server) -> call(Server, resume, ?DEFAULT_MS).

-spec drain(server()) -> {ok, map()} | {error, term()}.
drain(Server) -> drain(Server, ?DRAIN_MS).

%% @doc Refuse new projections and wait until all is delivered; resume/1 accepts them again.
-spec drain(server(), non_neg_integer()) -> {ok, map()} | {error, term()}.
drain(Server, Ms) -> call(Server, {drain, Ms}, Ms + ?GRACE_MS).

%% @doc Read the admin key file again.
-spec reload(server()) -> {ok, reloaded} | {error, term()}.
reload(Server) -> call(Server, reload, ?DEFAULT_MS).

-spec audit(server(), kind() | all) -> {ok, map()} | {error, term()}.
audit(Server, Kind) -> audit(Server, Kind, #{}).

%% @doc Compare what Convex holds with what it has confirmed.  Options: `repair', `after', and
%% the call's `timeout' and `wait'.  One audit runs at a time; audit_status/1 returns its progress.
-spec audit(server(), kind() | all, options()) -> {ok, map()} | {error, term()}.
audit(Server, Kind, Options) ->
    Map = maps:merge(#{timeout => ?AUDIT_MS}, proplists_or_map(Options)),
    {Call, Opts} = split(Map),
    call(Server, {audit, Kind, Opts}, Call).

-spec audit_status(server()) -> {ok, map()} | {error, term()}.
audit_status(Server) -> call(Server, {audit, status}, ?DEFAULT_MS).

%% @doc Cancel the running audit; its caller gets what was found so far.
-spec audit_cancel(server()) -> {ok, cancelled | idle} | {error, term()}.
audit_cancel(Server) -> call(Server, {audit, cancel}, ?DEFAULT_MS).

-spec dead_list(server()) -> {ok, [map()]} | {error, term()}.
dead_list(Server) -> call(Server, {dead, list}, ?DEFAULT_MS).

%% @doc The next page of dead letters: those after this document id.
-spec dead_list(server(), binary()) -> {ok, [map()]} | {error, term()}.
dead_list(Server, After) -> call(Server, {dead, {list, After}}, ?DEFAULT_MS).

-spec dead_show(server(), binary()) -> {ok, map()} | {error, term()}.
dead_show(Server, DocumentId) -> call(Server, {dead, {show, DocumentId}}, ?DEFAULT_MS).

-spec dead_retry(server(), binary() | all) -> {ok, map()} | {error, term()}.
dead_retry(Server, What) -> call(Server, {dead, {retry, What}}, ?DEFAULT_MS).

-spec dead_drop(server(), binary()) -> {ok, map()} | {error, term()}.
dead_drop(Server, DocumentId) -> call(Server, {dead, {drop, DocumentId}}, ?DEFAULT_MS).

%% ---- the call

%% @doc Send any request and wait for its answer.  With `wait => true' a call that finds the
%% instance down, draining or busy, or loses it while waiting, sends the request (again) later,
%% within its timeout: every request of the protocol is idempotent.
-spec call(server(), term(), call_options()) -> {ok, term()} | {error, term()}.
call(Server, Request, #{} = Call) ->
    Timeout = maps:get(timeout, Call, ?DEFAULT_MS),
    case maps:get(wait, Call, false) andalso is_atom(Server) of
        true -> call_waiting(Server, Request, deadline(Timeout));
        false -> call(Server, Request, Timeout)
    end;
call(Server, Request, Timeout) ->
    case send_request(Server, Request) of
        {ok, Mref} -> receive_response(Mref, Timeout);
        {error, _} = Error -> Error
    end.

call_waiting(Name, Request, Deadline) ->
    case call(Name, Request, left(Deadline)) of
        {error, unavailable} ->
            case convex_sidecar_watch:await(Name, left(Deadline)) of
                %% The flag may say "up" for an instant after the connection has ended.
                ok -> call_waiting_again({error, unavailable}, 1, Name, Request, Deadline);
                {error, unavailable} -> {error, unavailable}
            end;
        %% An operator's SIGTERM, after which the program restarts soon; a full queue; or a
        %% connection that is still sending another caller's large message.
        {error, Passing} = Error when Passing =:= draining; Passing =:= busy ->
            call_waiting_again(Error, ?AGAIN_MS, Name, Request, Deadline);
        Answer ->
            Answer
    end.

call_waiting_again(Error, PauseMs, Name, Request, Deadline) ->
    case left(Deadline) of
        0 ->
            Error;
        Left ->
            timer:sleep(min(PauseMs, Left)),
            call_waiting(Name, Request, Deadline)
    end.

receive_response(Mref, Timeout) ->
    receive
        {[alias | Mref], _} = Message -> answer(Mref, Message);
        {'DOWN', Mref, _, _, _} = Message -> answer(Mref, Message)
    after Timeout ->
        abandon(Mref),
        {error, timeout}
    end.

answer(Mref, Message) ->
    {reply, Reply} = check_response(Message, Mref),
    Reply.

%% The tag [alias | Mref] is OTP's own (gen.erl): a peer that supports aliases replies to it.
-dialyzer({no_improper_lists, send_monitored/2}).
%% @doc Send a request without waiting; its answer arrives as a message for check_response/2.
%% Never blocks: a congested connection gives {error, busy}.
-spec send_request(server(), term()) -> {ok, reference()} | {error, unavailable | busy}.
send_request(Server, Request) ->
    case destination(Server) of
        {up, Dest} ->
            send_monitored(Dest, Request);
        down ->
            {error, unavailable}
    end.

send_monitored(Dest, Request) ->
    try erlang:monitor(process, Dest, [{alias, reply_demonitor}]) of
        Mref ->
            Message = {'$gen_call', {self(), [alias | Mref]}, Request},
            case erlang:send(Dest, Message, [nosuspend, noconnect]) of
                ok ->
                    {ok, Mref};
                nosuspend ->
                    abandon(Mref),
                    {error, busy};
                noconnect ->
                    abandon(Mref),
                    {error, unavailable}
            end
    catch
        %% The VM's distribution has just been stopped.
        error:badarg -> {error, unavailable}
    end.

%% @doc Check whether a received message is the answer to that request.
-spec check_response(term(), reference()) -> {reply, {ok, term()} | {error, term()}} | no.
check_response({[alias | Mref], Reply}, Mref) ->
    erlang:demonitor(Mref, [flush]),
    {reply, Reply};
check_response({'DOWN', Mref, _, _, Reason}, Mref) ->
    {reply, {error, down_reason(Reason)}};
check_response(_Message, _Mref) ->
    no.

%% @doc Stop waiting for the answer; a late one is dropped.
-spec abandon(reference()) -> ok.
abandon(Mref) ->
    erlang:demonitor(Mref, [flush]),
    receive
        {[alias | Mref], _} -> ok
    after 0 -> ok
    end.

%% @doc Whether a request that failed with this reason may succeed when it is sent again later.
-spec is_passing(term()) -> boolean().
is_passing(busy) -> true;
is_passing(unavailable) -> true;
is_passing(timeout) -> true;
is_passing(draining) -> true;
is_passing({store, _}) -> true;
is_passing(_) -> false.

down_reason(Gone) when
    Gone =:= noproc; Gone =:= noconnection; Gone =:= normal; Gone =:= shutdown; Gone =:= killed
->
    unavailable;
down_reason({shutdown, _}) -> unavailable;
down_reason(Reason) -> Reason.

destination(Name) when is_atom(Name) ->
    convex_sidecar_instance:destination(Name);
destination({_, Node} = Dest) ->
    case Node =:= node() orelse lists:member(Node, nodes(connected)) of
        true -> {up, Dest};
        false -> down
    end.

%% Separates the call's own options from the sidecar's.  A call that waits for Convex
%% waits a little longer than the sidecar does, so that the sidecar's answer arrives in time.
split(Options) ->
    Map = proplists_or_map(Options),
    Opts = maps:without([timeout, wait], Map),
    Default =
        case Opts of
            #{ack := written} -> maps:get(deadline_ms, Opts, ?DEADLINE_MS) + ?GRACE_MS;
            #{} -> ?DEFAULT_MS
        end,
    {#{timeout => maps:get(timeout, Map, Default), wait => maps:get(wait, Map, false)}, Opts}.

proplists_or_map(Options) when is_map(Options) -> Options;
proplists_or_map(Options) -> proplists:to_map(Options).

deadline(infinity) -> infinity;
deadline(Timeout) -> erlang:monotonic_time(millisecond) + Timeout.

left(infinity) -> infinity;
left(Deadline) -> max(0, Deadline - erlang:monotonic_time(millisecond)).
