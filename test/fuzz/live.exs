# live.exs - the sanitized program against a structure-aware mutator of valid traffic (make fuzz-live).
#
# A sidecar runs from a store, is asked for a while by a few peers at once, ends (by a signal, or at once by SIGKILL),
# its store is checked, and it is started again on the same store: in turn with the noop sink and with an http sink whose
# Convex answers well, mutated, late or not at all.  A peer comes in by the distribution port with a real handshake, by
# the control socket, by observe, or knocks without a cookie.  Most of what it says is a valid request of which a part was
# replaced, dropped or repeated; some of it is valid; in some the bytes are changed.
#
# A finding is: a report of a sanitizer, "fatal bug", an end that nobody asked for, a start that fails, a valid `status`
# that is not answered, a store that is not sound.  Exit status 0: none.

defmodule Mutate do
  @moduledoc "Terms and bytes, changed a little."

  def pick(list), do: Enum.at(list, :rand.uniform(length(list)) - 1)
  def chance(percent), do: :rand.uniform(100) <= percent

  @doc "The term with one part of it replaced, dropped, repeated or put elsewhere."
  def term(t) do
    case size(t) do
      1 -> nasty()
      n -> change(t, :rand.uniform(n) - 1)
    end
  end

  defp size(t), do: 1 + (t |> parts() |> Enum.map(&size/1) |> Enum.sum())

  defp parts(t) when is_tuple(t), do: Tuple.to_list(t)
  defp parts(t) when is_map(t), do: Enum.flat_map(:maps.to_list(t), &Tuple.to_list/1)
  defp parts([h | t]), do: [h | if(is_list(t), do: parts(t), else: [t])]
  defp parts(_), do: []

  # Change the part that is number `n` in a walk over all of them.
  defp change(t, 0), do: replace(t)

  defp change(t, n) do
    {parts, _} =
      Enum.map_reduce(parts(t), n - 1, fn part, left ->
        s = size(part)
        {if(left in 0..(s - 1)//1, do: change(part, left), else: part), left - s}
      end)

    rebuild(t, parts)
  end

  defp rebuild(t, parts) when is_tuple(t), do: List.to_tuple(parts)
  defp rebuild(t, parts) when is_map(t), do: parts |> Enum.chunk_every(2) |> Map.new(fn [k, v] -> {k, v} end)
  defp rebuild(_, parts), do: parts

  defp replace(t) do
    case :rand.uniform(8) do
      1 -> [t | t |> List.wrap() |> Enum.take(3)]
      2 when is_list(t) -> Enum.drop(t, 1)
      3 when is_map(t) and map_size(t) > 0 -> Map.delete(t, pick(Map.keys(t)))
      4 when is_binary(t) -> bytes(t)
      5 when is_integer(t) -> pick([t + 1, t - 1, -t, t * 256])
      6 when is_tuple(t) -> List.to_tuple(Tuple.to_list(t) ++ [nasty()])
      _ -> nasty()
    end
  rescue
    _ -> nasty()
  end

  def nasty do
    pick([
      fn -> pick([0, -1, 255, 256, 2 ** 31, 2 ** 53 - 1, 2 ** 53, 2 ** 63 - 1, -(2 ** 63), 2 ** 64, 2 ** 3000]) end,
      fn -> pick([0.0, -0.0, 1.0e308, 5.0e-324, 9_007_199_254_740_993.0]) end,
      fn -> pick(["", <<255>>, "a\0b", "\e[31m", <<0xC2, 0x9B>>, "\u202e", String.duplicate("x", 301), String.duplicate("\x01", 4000)]) end,
      fn -> String.duplicate("é", pick([100, 70_000])) end,
      fn -> pick([nil, true, false, :undefined, :null, :all, :nan, String.to_atom(String.duplicate("a", 255))]) end,
      fn -> pick([self(), make_ref(), &nasty/0, hd(Port.list()), <<1::3>>]) end,
      fn -> pick([[], {}, %{}, [1 | 2], ~c"text", [[]], {:a, {:b}}]) end,
      fn -> Enum.reduce(1..pick([3, 65, 300]), 1, fn _, t -> pick([[t], %{"a" => t}]) end) end,
      fn -> Enum.to_list(1..pick([10, 3000])) end,
      fn -> Map.new(1..pick([3, 200]), &{"k#{&1}", &1}) end,
      fn -> %{DateTime.utc_now() | year: pick([-1, 0, 9999, 10_000]), microsecond: {pick([0, 999_999, 10_000_000]), pick([0, 6, 7])}} end,
      fn -> pick(["9999-12-31T23:59:59.999999Z", "0000-01-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-02-19T20:00:00+99:99"]) end
    ]).()
  end

  @doc "Bytes with a few of them changed."
  def bytes(b) do
    at = if b == "", do: 0, else: :rand.uniform(byte_size(b)) - 1
    <<head::binary-size(at), rest::binary>> = b

    case {:rand.uniform(5), rest} do
      {1, <<x, tail::binary>>} -> head <> <<Bitwise.bxor(x, 2 ** (:rand.uniform(8) - 1))>> <> tail
      {2, <<_, tail::binary>>} -> head <> <<:rand.uniform(256) - 1>> <> tail
      {3, <<_, tail::binary>>} -> head <> tail
      {4, _} -> head
      _ -> head <> :crypto.strong_rand_bytes(:rand.uniform(8)) <> rest
    end
  end
end

defmodule Traffic do
  @moduledoc "Valid requests, and what becomes of them."
  import Mutate, only: [pick: 1, chance: 1]

  @kinds [run_summary: "runtime/run_summary:", codex_worker_summary: "runtime/codex_worker_summary:"]

  def request do
    r = valid()
    if chance(70), do: Enum.reduce(1..pick([1, 1, 1, 2, 4]), r, fn _, t -> Mutate.term(t) end), else: r
  end

  defp valid do
    case :rand.uniform(20) do
      n when n <= 10 -> project()
      11 -> upsert()
      12 -> {:batch, for(_ <- 1..pick([1, 5, 100]), do: pick([&project/0, &upsert/0]).())}
      13 -> {:checkpoint, id()}
      14 -> {:clear, pick([id(), {:kind, elem(pick(@kinds), 0)}])}
      15 -> {:dead, pick([:list, {:list, id()}, {:show, id()}, {:retry, id()}, {:retry, :all}, {:drop, id()}])}
      16 -> {:flush, pick([0, 50, 86_400_000])}
      17 -> pick([:pause, :resume, :resume, :resume, :reload, :status])
      18 -> {:audit, pick([:all, :run_summary, :status, :cancel]), pick([%{}, %{repair: true}, %{after: id()}])}
      19 -> {:audit, pick([:status, :cancel])}
      20 -> {:clear, id(), %{unless_newer: "2026-02-19T20:00:00Z"}}
    end
  end

  defp entity, do: "e#{:rand.uniform(300)}"
  defp id, do: elem(pick(@kinds), 1) <> entity()

  defp project do
    from = pick([1, 1, 1, 2, 5])
    {:project, elem(pick(@kinds), 0), entity(), row(), for(s <- from..(from + pick([-1, 0, 2]))//1, do: event(s)), opts()}
  end

  defp event(seq), do: %{seq: seq, event_type: "run.started", inserted_at: DateTime.utc_now()}

  defp row,
    do: %{
      "status" => pick(["running", "é", String.duplicate("x", pick([1, 5000]))]),
      "updated_at" => DateTime.utc_now(),
      "metadata" => %{"a" => [1, 2.5, nil]},
      "latest_seq" => :rand.uniform(9)
    }

  defp opts do
    [
      ack: pick([:kept, :written]),
      now: pick([DateTime.utc_now(), "2026-02-19T20:00:00.000000Z"]),
      projection_version: "v1",
      reset: true,
      force: true,
      unless_ahead: true,
      unless_newer: true,
      after_seq: :rand.uniform(5) - 1,
      log_end: :rand.uniform(5),
      below: true,
      events_before: :rand.uniform(3) - 1,
      deadline_ms: pick([0, 100, 86_400_000]),
      seq_range: {1, :rand.uniform(3)},
      return: pick([:summary, :none])
    ]
    |> Enum.filter(fn _ -> chance(15) end)
    |> Map.new()
  end

  defp upsert do
    {kind, prefix} = pick(@kinds)
    id = prefix <> entity()
    {:upsert, kind, id, summary(kind, id), if(chance(20), do: %{unless_newer: true, return: :none}, else: %{})}
  end

  defp summary(kind, id),
    do: %{
      "document_id" => id,
      "kind" => "#{kind}",
      "projected_at" => DateTime.to_iso8601(DateTime.utc_now()),
      "projection_version" => "v1",
      "event_count" => 1,
      "runtime_source" => %{"entity" => "run", "seq" => :rand.uniform(9)}
    }

  @doc "A message to our name, as a BEAM sends it: sometimes its bytes are changed."
  def message(request) do
    tag = pick([[:alias | make_ref()], make_ref(), [[:alias | make_ref()] | make_ref()]])
    payload = pick([{:"$gen_call", {self(), tag}, request}, {:"$gen_call", {self(), tag}, request}, {:"$gen_cast", request}])

    control =
      pick([{6, self(), :"", :convex_sidecar}, {6, self(), :"", :convex_sidecar}, {35, 7, self(), self()}, {22, self(), :x, make_ref()}])

    spoil(<<112>> <> :erlang.term_to_binary(control) <> :erlang.term_to_binary(payload))
  end

  def frame(request), do: spoil(:erlang.term_to_binary({:call, :rand.uniform(1000), request}))

  defp spoil(bytes), do: if(chance(8), do: Mutate.bytes(bytes), else: bytes)
end

defmodule Peer do
  @moduledoc "One connection after the other, until the time is over; what was sent is counted."
  import Mutate, only: [pick: 1, chance: 1]

  def run(side, until_ms, counts) do
    if now() < until_ms do
      try do
        pick([&node/3, &node/3, &node/3, &guest/3, &reader/3, &stranger/3]).(side, until_ms, counts)
      catch
        :closed -> :ok
      end

      run(side, until_ms, counts)
    end
  end

  defp now, do: System.monotonic_time(:millisecond)
  defp count(counts, at), do: :counters.add(counts, at, 1)
  defp ok({:ok, x}), do: x
  defp ok(:ok), do: :ok
  defp ok(_), do: throw(:closed)

  # As a BEAM node, with the handshake of OTP.
  defp node(side, until_ms, counts) do
    s = ok(:gen_tcp.connect({127, 0, 0, 1}, side.port, [:binary, active: false, packet: 2, nodelay: true], 5000))
    shake_hands(s, "peer#{:rand.uniform(5)}@127.0.0.1")
    ok(:inet.setopts(s, packet: 4, active: :once))
    talk(s, fn -> Traffic.message(Traffic.request()) end, until_ms, counts, :rand.uniform(3000))
    :gen_tcp.close(s)
  end

  defp shake_hands(s, name) do
    ok(:gen_tcp.send(s, <<"N", 0x0000000D07DF7FBD::64, 1::32, byte_size(name)::16, name::binary>>))
    if ok(:gen_tcp.recv(s, 0, 8000)) == "salive", do: ok(:gen_tcp.send(s, "strue"))
    <<"N", _flags::64, challenge::32, _::binary>> = ok(:gen_tcp.recv(s, 0, 8000))
    digest = :crypto.hash(:md5, "fuzzcookie#{challenge}")
    ok(:gen_tcp.send(s, <<"r", 7::32, digest::binary>>))
    <<"a", _::binary>> = ok(:gen_tcp.recv(s, 0, 8000))
  end

  # As the command line.
  defp guest(side, until_ms, counts) do
    s = ok(:gen_tcp.connect({:local, side.store <> "/control.sock"}, 0, [:binary, active: :once, packet: 4], 5000))
    talk(s, fn -> Traffic.frame(Traffic.request()) end, until_ms, counts, :rand.uniform(500))
    :gen_tcp.close(s)
  end

  defp talk(_, _, _, _, 0), do: :ok

  defp talk(s, make, until_ms, counts, left) do
    listen(s, counts)

    if now() < until_ms do
      ok(:gen_tcp.send(s, make.()))
      count(counts, 1)
      talk(s, make, until_ms, counts, left - 1)
    end
  end

  defp listen(s, counts) do
    receive do
      {:tcp, ^s, ""} -> more(s, counts, fn -> :gen_tcp.send(s, "") end)
      {:tcp, ^s, _} -> more(s, counts, fn -> count(counts, 2) end)
      {:tcp_closed, ^s} -> throw(:closed)
      {:tcp_error, ^s, _} -> throw(:closed)
    after
      0 -> :ok
    end
  end

  defp more(s, counts, act) do
    act.()
    ok(:inet.setopts(s, active: :once))
    listen(s, counts)
  end

  # A browser or a scraper.
  defp reader(side, _, counts) do
    s = ok(:gen_tcp.connect({127, 0, 0, 1}, side.observe, [:binary, active: false], 5000))
    path = pick(~w(/ /metrics /healthz /readyz /status /history /nothing))
    head = "#{pick(~w(GET HEAD POST))} #{path} HTTP/1.1\r\nHost: #{pick(~w(localhost evil.example 127.0.0.1))}\r\nConnection: close\r\n\r\n"
    ok(:gen_tcp.send(s, if(chance(50), do: Mutate.bytes(head), else: head)))
    count(counts, 1)
    _ = :gen_tcp.recv(s, 0, 200)
    :gen_tcp.close(s)
  end

  # Who has no cookie.
  defp stranger(side, _, counts) do
    s = ok(:gen_tcp.connect({127, 0, 0, 1}, side.port, [:binary, active: false, packet: 2], 5000))
    name = "x@127.0.0.1"
    hello = <<"N", 0x0000000D07DF7FBD::64, 1::32, byte_size(name)::16, name::binary>>
    ok(:gen_tcp.send(s, if(chance(70), do: Mutate.bytes(hello), else: hello)))
    count(counts, 1)
    with {:ok, _} <- :gen_tcp.recv(s, 0, 200), do: :gen_tcp.send(s, :crypto.strong_rand_bytes(21))
    :gen_tcp.close(s)
  end

  @doc "Whether a valid `status` is answered, over a connection of its own."
  def asks_status(side) do
    s = ok(:gen_tcp.connect({:local, side.store <> "/control.sock"}, 0, [:binary, active: false, packet: 4], 5000))
    <<131, _::binary>> = welcome = ok(:gen_tcp.recv(s, 0, 20_000))
    {:welcome, _} = :erlang.binary_to_term(welcome)
    ok(:gen_tcp.send(s, :erlang.term_to_binary({:call, 1, :status})))
    {:reply, 1, {:ok, %{}}} = :erlang.binary_to_term(ok(:gen_tcp.recv(s, 0, 20_000)))
    :gen_tcp.close(s)
    true
  catch
    _, _ -> false
  end
end

defmodule Convex do
  @moduledoc "What the http sink speaks to: it answers as Convex does, nearly."
  import Mutate, only: [pick: 1, chance: 1]

  def start do
    {:ok, l} = :gen_tcp.listen(0, [:binary, active: false, packet: :http_bin, ip: {127, 0, 0, 1}, reuseaddr: true, backlog: 256])
    {:ok, port} = :inet.port(l)
    spawn_link(fn -> accept(l) end)
    port
  end

  defp accept(l) do
    {:ok, s} = :gen_tcp.accept(l)
    pid = spawn(fn -> receive do: (:go -> serve(s)) end)
    :ok = :gen_tcp.controlling_process(s, pid)
    send(pid, :go)
    accept(l)
  end

  defp serve(s) do
    with {:ok, path, len} <- head(s, nil, 0),
         :ok <- :inet.setopts(s, packet: :raw),
         {:ok, body} <- if(len > 0, do: :gen_tcp.recv(s, len, 5000), else: {:ok, ""}),
         :ok <- answer(s, path, body),
         :ok <- :inet.setopts(s, packet: :http_bin) do
      serve(s)
    else
      _ -> :gen_tcp.close(s)
    end
  end

  defp head(s, path, len) do
    case :gen_tcp.recv(s, 0, 60_000) do
      {:ok, {:http_request, _, {:abs_path, path}, _}} -> head(s, path, len)
      {:ok, {:http_header, _, :"Content-Length", _, n}} -> head(s, path, String.to_integer(n))
      {:ok, :http_eoh} -> {:ok, path, len}
      {:ok, _} -> head(s, path, len)
      _ -> :closed
    end
  end

  defp answer(s, path, body) do
    good = good(path, body)

    case :rand.uniform(20) do
      1 -> :closed
      2 -> Process.sleep(pick([10, 300])) && send_answer(s, 200, good)
      n when n in 3..5 -> send_answer(s, pick([200, 200, 400, 401, 403, 404, 429, 500, 503, 560]), Mutate.bytes(good))
      6 -> send_answer(s, pick([400, 503, 560]), ~s({"code":"X","message":"#{String.duplicate("y", pick([1, 9000]))}"}))
      _ -> send_answer(s, 200, good)
    end
  end

  defp send_answer(s, status, body) do
    more = if chance(5), do: "Retry-After: #{pick(~w(0 1 x -5 99999999999))}\r\n", else: ""
    :gen_tcp.send(s, "HTTP/1.1 #{status} X\r\nContent-Type: application/json\r\n#{more}Content-Length: #{byte_size(body)}\r\n\r\n#{body}")
  end

  # Enough of JSON for that: how many items, and the call's number.
  defp good("/api/query", _), do: ~s({"status":"success","value":{"digests":[#{if chance(50), do: digest()}],"next":null}})

  defp good("/api/mutation", body) do
    number = with [_, n] <- Regex.run(~r/"call":(\d+)/, body), do: ~s(,"call":#{n}), else: (_ -> "")

    cond do
      body =~ ~s(:attach") ->
        ~s({"status":"success","value":{"functions":2,"deployment":"fuzz","mark":1,"controls":[]#{number}}})

      body =~ ~s("items":[) ->
        ~s({"status":"success","value":{"results":[#{results(body)}],"functions":2,"deployment":"fuzz","mark":1#{number}}})

      true ->
        ~s({"status":"success","value":{"outcome":"updated"#{number}}})
    end
  end

  defp good(_, _), do: ~s({"success":true,"isReadOnly":false})

  defp results(body) do
    1..length(Regex.scan(~r/"document_id":/, body))//1
    |> Enum.map_join(",", fn _ -> if chance(2), do: ~s({"outcome":"rejected","error":"no"}), else: ~s({"outcome":"updated","seq":1}) end)
  end

  defp digest do
    hash = String.duplicate("0f", 32)

    ~s({"document_id":"runtime/run_summary:e1","seq":1,"projected_at":"2026-02-19T20:00:00.000000Z","intact":true,"content_hash":"#{hash}","actual_hash":"#{hash}"})
  end
end

defmodule Live do
  @moduledoc "Starts, ends, and what was found."

  @round_ms 15_000
  @bad ~r/(ERROR: (Address|Undefined|Thread)\S*|runtime error|fatal bug|WARNING: ThreadSanitizer|Assertion)[^\n]{0,300}/

  def main do
    seed = String.to_integer(System.get_env("SEED") || "#{:rand.uniform(1_000_000)}")
    minutes = String.to_integer(System.get_env("MINUTES") || "5")
    dir = System.fetch_env!("LIVE_DIR")

    state = %{
      dir: dir,
      program: System.fetch_env!("LIVE_PROGRAM"),
      seed: seed,
      convex: Convex.start(),
      counts: :counters.new(2, []),
      restarts: 0,
      findings: []
    }

    IO.puts("fuzz-live: seed #{seed}, #{minutes} min, #{state.program}")
    state = rounds(state, System.monotonic_time(:millisecond) + minutes * 60_000)
    for f <- Enum.reverse(state.findings), do: IO.puts("FOUND #{f}")

    IO.puts(
      "fuzz-live: #{:counters.get(state.counts, 1)} messages, #{:counters.get(state.counts, 2)} answers, #{state.restarts} starts, #{length(state.findings)} findings"
    )

    if state.findings == [], do: 0, else: 1
  end

  defp rounds(s, until_ms) do
    if System.monotonic_time(:millisecond) >= until_ms or length(s.findings) >= 5,
      do: s,
      else: rounds(round(s, Enum.at([:noop, :http], rem(s.restarts, 2))), until_ms)
  end

  defp round(s, sink) do
    :rand.seed(:exsss, {s.seed, s.restarts, 0})
    s = %{s | restarts: s.restarts + 1}
    store = Path.join(s.dir, "#{sink}")
    log = Path.join(s.dir, "log.#{s.restarts}")

    case start(s, sink, store, log) do
      {:ok, port, side} -> s |> ask(side) |> finish(port, side, log) |> check(store)
      {:error, why} -> found(s, log, "it did not start: #{why}")
    end
  end

  defp start(s, sink, store, log) do
    ini = Path.join(s.dir, "sidecar.ini")
    File.write!(ini, ini(s, sink, store))
    File.chmod!(ini, 0o600)

    port =
      Port.open({:spawn_executable, "/bin/sh"}, [
        :binary,
        :exit_status,
        line: 500,
        args: ["-c", "exec \"$0\" run --config \"$1\" 2>\"$2\"", s.program, ini, log],
        env: [
          {~c"ASAN_OPTIONS", ~c"detect_leaks=0:exitcode=77:allocator_may_return_null=1"},
          {~c"UBSAN_OPTIONS", ~c"print_stacktrace=1:halt_on_error=1:exitcode=78"},
          {~c"TSAN_OPTIONS", ~c"exitcode=79:second_deadlock_stack=1:history_size=4"}
        ]
      ])

    {:os_pid, pid} = Port.info(port, :os_pid)

    receive do
      {^port, {:data, {_, "ready " <> line}}} ->
        [_, p, o] = Regex.run(~r/port=(\d+) .*observe_port=(\d+)/, line)
        {:ok, port, %{pid: pid, port: String.to_integer(p), observe: String.to_integer(o), store: store}}

      {^port, {:exit_status, n}} ->
        {:error, "status #{n}"}
    after
      60_000 ->
        System.cmd("kill", ["-9", "#{pid}"])
        {:error, "not ready after a minute"}
    end
  end

  defp ini(s, sink, store) do
    convex =
      if sink == :http,
        do:
          "type = http\nbase_url = http://127.0.0.1:#{s.convex}\nadmin_key = fuzz|0123456789abcdef\nbatch_mutation = #{if rem(s.restarts, 4) < 2, do: "runtime:upsertBatch"}\n",
        else: "type = noop\n"

    """
    [node]
    name = fuzz@127.0.0.1
    cookie = fuzzcookie
    max_message_bytes = 1m
    max_unsent_bytes = 1m
    [store]
    dir = #{store}
    limit_bytes = 64m
    dead_letters = 50
    queue_bytes = 4m
    [observe]
    port = -1
    details = on
    [delivery]
    min_interval_ms = 0
    backoff_min_ms = 5
    backoff_max_ms = 100
    probe_ms = 200
    drain_ms = 200
    [sink]
    #{convex}
    """
  end

  defp ask(s, side) do
    until_ms = System.monotonic_time(:millisecond) + @round_ms
    tasks = for n <- 1..4, do: Task.async(fn -> :rand.seed(:exsss, {s.seed, s.restarts, n}) && Peer.run(side, until_ms, s.counts) end)
    Task.await_many(tasks, @round_ms + 120_000)
    if Peer.asks_status(side), do: s, else: %{s | findings: ["round #{s.restarts}: status is not answered" | s.findings]}
  end

  defp finish(s, port, side, log) do
    signal = Enum.at(~w(TERM TERM KILL), rem(s.restarts, 3))
    System.cmd("kill", ["-#{signal}", "#{side.pid}"], stderr_to_stdout: true)

    receive do
      {^port, {:exit_status, 0}} when signal == "TERM" -> said(s, log)
      {^port, {:exit_status, 137}} when signal == "KILL" -> said(s, log)
      {^port, {:exit_status, n}} -> found(s, log, "status #{n} after SIG#{signal}")
    after
      120_000 ->
        System.cmd("kill", ["-9", "#{side.pid}"])
        found(s, log, "it does not end")
    end
  end

  # A report counts even when the program went on.
  defp said(s, log) do
    case Regex.run(@bad, File.read!(log)) do
      nil -> File.rm(log) && s
      [line | _] -> %{s | findings: ["round #{s.restarts}: #{line} (#{log})" | s.findings]}
    end
  end

  defp found(s, log, what) do
    line = with {:ok, text} <- File.read(log), [line | _] <- Regex.run(@bad, text), do: line, else: (_ -> "nothing said")
    %{s | findings: ["round #{s.restarts}: #{what}: #{line} (#{log})" | s.findings]}
  end

  defp check(s, store) do
    case System.cmd(s.program, ["store", "check", "--store", store], stderr_to_stdout: true, env: [{"ASAN_OPTIONS", "detect_leaks=0"}]) do
      {_, 0} -> s
      {text, n} -> %{s | findings: ["round #{s.restarts}: store check #{n}: #{String.slice(text, 0, 400)}" | s.findings]}
    end
  end
end

System.halt(Live.main())
