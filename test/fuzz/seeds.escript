#!/usr/bin/env escript
%% seeds.escript DIR: well-formed inputs for each target of this folder, from which libFuzzer begins.
-mode(compile).

main([Dir]) ->
    [write(Dir, Target, Seeds) || {Target, Seeds} <- seeds()],
    ok.

write(Dir, Target, Seeds) ->
    [begin
         File = filename:join([Dir, Target, integer_to_list(N)]),
         ok = filelib:ensure_dir(File),
         ok = file:write_file(File, Seed)
     end || {N, Seed} <- lists:enumerate(Seeds)].

seeds() ->
    Terms = [term_to_binary(T) || T <- terms()],
    [{"term", Terms},
     {"json", Terms ++ [<<"{\"a\":[1,-2.5e3,null,true,\"\\u00e9\"]}">>]},
     {"projection", [term_to_binary(T) || T <- [row(), events(), summary()]] ++ [<<148, 5, 5, 163, "\"r\"", 192>>]},
     {"message", [message(R) || R <- requests()] ++ [frame(R) || R <- requests()]},
     {"door", [<<(4 * 15 + 1), (length4(message(R)))/binary>> || R <- requests()] ++
          [<<(4 * 12 + 2), (length4(frame(R)))/binary>> || R <- requests()] ++ [<<(4 * 10), (greeting())/binary>>]},
     {"cli", [length4(term_to_binary({reply, 1, A})) || A <- answers()]},
     {"config", [ini()]},
     {"convex", [<<S, B/binary>> || S <- [0, 4, 5], B <- bodies()]},
     {"history", [history(), export()]},
     {"observe", [<<"GET ", P/binary, " HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n">> ||
                     P <- [<<"/">>, <<"/metrics">>, <<"/healthz">>, <<"/readyz">>, <<"/status">>, <<"/history">>]]},
     {"text", [<<"2026-02-19T20:00:00.123456Z">>, <<"20260219T200000+0130">>, <<"\"a\\u00e9\" : 1">>,
               <<"se\\\"cr\\/et and s\\u0065\"cr/et">>, <<"*@host app@*\napp@host">>]}].

terms() ->
    [row(), events(), summary(), [1, 2.5, 1 bsl 70, -1, a, <<"b">>, "string", #{}, {}], self(), make_ref(), fun main/1,
     [improper | tail], <<1:3>>, #{nil => undefined}].

instant() ->
    #{'__struct__' => 'Elixir.DateTime', calendar => 'Elixir.Calendar.ISO', year => 2026, month => 2, day => 19, hour => 20,
      minute => 0, second => 0, microsecond => {123456, 6}, time_zone => <<"Etc/UTC">>, zone_abbr => <<"UTC">>,
      utc_offset => 0, std_offset => 0}.
row() -> #{status => <<"running">>, <<"updated_at">> => instant(), metadata => #{a => [1, 2.0]}, lane => nil}.
events() -> [#{seq => S, event_type => <<"run.started">>, inserted_at => instant()} || S <- [1, 2, 3]].
summary() ->
    #{<<"document_id">> => <<"runtime/run_summary:x">>, <<"kind">> => <<"run_summary">>, <<"projected_at">> => <<"2026-02-19T20:00:00.000000Z">>,
      <<"projection_version">> => <<"v1">>, <<"runtime_source">> => #{<<"entity">> => <<"run">>, <<"seq">> => 3}, <<"event_count">> => 3}.

requests() ->
    Id = <<"runtime/run_summary:x">>,
    Project = {project, run_summary, <<"x">>, row(), events(), #{ack => kept, now => instant()}},
    [Project, {batch, [Project, {upsert, run_summary, Id, summary(), #{}}]}, {checkpoint, Id}, {clear, Id}, {dead, list},
     {flush, 5}, status, {audit, start, #{kind => run_summary}}].

message(Request) ->
    Control = term_to_binary({6, self(), '', convex_sidecar}),
    Payload = term_to_binary({'$gen_call', {self(), [alias | make_ref()]}, Request}),
    <<112, Control/binary, Payload/binary>>.
frame(Request) -> term_to_binary({call, 1, Request}).
length4(Bytes) -> <<(byte_size(Bytes)):32, Bytes/binary>>.

greeting() ->
    Name = <<"app@127.0.0.1">>,
    Hello = <<"N", 16#0000000D07DF7FBD:64, 1:32, (byte_size(Name)):16, Name/binary>>,
    Reply = <<"r", 1:32, 0:128>>,
    <<(byte_size(Hello)):16, Hello/binary, (byte_size(Reply)):16, Reply/binary>>.

answers() ->
    [{ok, done}, {ok, #{state => running, pending => 3, sink => <<"http">>, metrics => #{requests_total => 7}, kinds => [#{kind => <<"run_summary">>, state => running}]}},
     {ok, [#{document_id => <<"a">>, why => <<"refused ", 255, 27, "[31m">>, attempts => 2}]}, {error, {invalid, <<"path">>, <<"why">>}}, {error, busy}].

ini() ->
    <<"[node]\nname = convex_sidecar@127.0.0.1\ncookie = c\n[store]\ndir = /tmp/x\nlimit_bytes = 1g\n[sink]\ntype = http\n"
      "base_url = https://happy.convex.cloud:443\nadmin_key = a|b\n[kind.invoice]\nprefix = runtime/invoice:\nentity = invoice\n"
      "id_field = invoice_id\nmutation = runtime:upsertInvoice\nfields = status metadata:map\n">>.

bodies() ->
    [<<"{\"status\":\"success\",\"value\":{\"results\":[{\"outcome\":\"inserted\",\"seq\":1},{\"outcome\":\"rejected\",\"error\":\"no\"},{\"outcome\":\"unchanged\"}],"
       "\"call\":7,\"functions\":2,\"deployment\":\"happy\",\"mark\":3}}">>,
     <<"{\"status\":\"error\",\"errorMessage\":\"[Request ID: a] Server Error\\nArgumentValidationError: x\",\"errorData\":{\"code\":\"X\"}}">>,
     <<"{\"code\":\"BadJsonBody\",\"message\":\"why\"}">>,
     <<"{\"status\":\"success\",\"value\":{\"functions\":2,\"controls\":[\"runtime:upsertRunSummary\"],\"deployment\":\"d\",\"mark\":1,\"is_done\":true}}">>,
     <<"{\"status\":\"success\",\"value\":{\"digests\":[{\"document_id\":\"a\",\"seq\":1,\"projected_at\":\"2026-02-19T20:00:00.000000Z\",\"intact\":true,"
       "\"content_hash\":\"", (binary:copy(<<"0f">>, 32))/binary, "\",\"actual_hash\":\"", (binary:copy(<<"0f">>, 32))/binary, "\"}],\"next\":null}}">>].

history() ->
    <<"{\"kind\":\"run_summary\",\"id\":\"x\",\"row\":{\"status\":\"running\"}}\n"
      "{\"kind\":\"run_summary\",\"id\":\"x\",\"events\":[{\"seq\":1,\"event_type\":\"run.started\",\"inserted_at\":\"2026-02-19T20:00:00Z\"}]}\n"
      "{\"kind\":\"run_summary\",\"id\":\"y\",\"row\":{},\"events\":[{\"seq\":1,\"event_type\":\"a\",\"inserted_at\":\"2026-02-19T20:00:00Z\"}]}\n">>.
export() ->
    <<"{\"convex_sidecar_export\":1,\"made_at\":\"2026-02-19T20:00:00.000000Z\",\"store_id\":\"\",\"store_format\":2}\n"
      "{\"op\":\"upsert\",\"kind\":\"run_summary\",\"document_id\":\"runtime/run_summary:x\",\"state\":\"pending\",\"reset\":false,\"summary\":{\"a\":1}}\n"
      "{\"op\":\"remove\",\"kind\":\"run_summary\",\"document_id\":\"runtime/run_summary:y\",\"state\":\"pending\",\"projected_at\":\"2026-02-19T20:00:00.000000Z\"}\n"
      "{\"end\":true,\"lines\":2}\n">>.
