defmodule Bench.Rows do
  @moduledoc """
  The rows of the table. A group is measured together; each of its rows is
  `{row, value, against, ratio, target, :least | :most, note}`, value, against and ratio being lists
  of repeats (or single numbers).
  """
  import Bench.Kit
  alias Bench.{InVmSink, Source}
  alias OpenAgentsRuntime.Convex.{CanonicalJson, Summary}

  @conveyor {Bench.Source, :one}
  @kind :run_summary

  # In the order of the table; `make bench ROW=name` runs one.
  def groups do
    [
      versions: &Bench.VersionRows.measure/0,
      async: &async/0,
      drain: &drain/0,
      kept: &kept/0,
      batches: &batches/0,
      idle: &idle/0,
      hot: &hot/0,
      checkpoints: &checkpoints/0,
      append: &append/0,
      append_latency: &append_latency/0,
      instructions: &instructions/0,
      memory: &memory/0,
      slow: &slow/0,
      rebuild: &rebuild/0
    ]
  end

  @doc "What holds a row back that misses its target, as docs/BENCH.md measured it; nil: nothing known."
  def held_back(row) do
    reasons = for {beginning, why} <- held_back(), String.starts_with?(row, beginning), do: {String.length(beginning), why}
    reasons |> Enum.max(fn -> {0, nil} end) |> elem(1)
  end

  defp held_back do
    %{
      "sustained" => "two cores for everything; the in-VM sink alone swings between 8,000 and 13,000 a second",
      "the same, of the link" => "21 us a document on two cores, which wait a part of the time for the two syncs of a commit",
      "VM CPU" => "two looks at each row, which 0.1.1 does not make: 3 us",
      "appending process us p50, against" => "whether the caller is in a transaction is asked, and a mark names its source",
      "sidecar CPU us per document" => "memory: the same build takes 8 to 12 us (one a POST: 24 to 31) from one run to the next",
      "the same, store thread's CPU us a version" =>
        "a verdict rewrites its checkpoint on a page of its own; 4,096 together write 0.2 pages each, where rising ids write 0.1",
      "random ids, first versions" => "ids in order of the id: each new one dirties a leaf of its own, 0.85 of 1.5 pages",
      "sustained docs/s, random ids" => "ids in order of the id: each new one dirties a leaf of its own",
      "docs/s with 1,000,000 checkpoints, random ids" => "ids in order of the id: 25,000 leaves, each new one dirties one",
      "drain" => "the delivery thread: bodies come cold out of the store, and the store thread shares the second core with the stub",
      "the same, sidecar CPU us per POST" =>
        "kernel and libcurl as in the bare loop, cold bodies, two questions to the kernel about the connection, and 2 to 3 us to note each verdict",
      "kept p50" => "nine pages a commit (pending, checkpoint, counters, their branches, the free list) where the bare loop writes five",
      "kept calls/s, 64" => "the disk's syncs: two cohorts of 32 take turns, and waiting for more company gains nothing",
      "kept docs/s, batches" => "the VM that builds requests and reads results shares two cores; LMDB alone has both",
      "instructions" => "SHA-256 alone is 6.8 walks: valgrind has no SHA instructions, the processor has"
    }
  end

  defp id(n), do: "#{System.unique_integer([:positive])}_#{n}"

  # New ids, as a tuple: as runs have them, or each higher than all before.
  # A literal: what callers' functions hold of it is not copied to each of them, which with 1,000 callers would be measured.
  defp ids(order, n) do
    :persistent_term.put(__MODULE__, List.to_tuple(new_ids(order, n)))
    :persistent_term.get(__MODULE__)
  end

  defp new_ids(:random, n), do: for(_ <- 1..n, do: uuid())

  defp new_ids(:rising, n) do
    from = System.unique_integer([:positive, :monotonic]) * 1_000_000
    for i <- 1..n, do: "run_#{String.pad_leading(Integer.to_string(from + i), 20, "0")}"
  end

  # ---- the asynchronous form against the sink in the VM and against the link

  defp async do
    stub = start_stub()
    {casts, in_vm} = {raw_casts(), in_vm(stub, [1, 16, 64])}
    {{ours, random}, ceiling} = with_ceiling(stub, fn -> async_sustained(stub) end)
    {p50, p99} = {appender_us(stub), in_vm_us(stub)}
    call = kept_vm_cpu(stub)
    stop_stub(stub)
    best = Enum.max_by(in_vm, &median(elem(&1, 1).rate)) |> elem(1)
    cheapest = in_vm |> Enum.map(&median(elem(&1, 1).cpu_us)) |> Enum.min()
    fewest = in_vm |> Enum.map(&median(elem(&1, 1).reductions)) |> Enum.min()

    [
      row("sustained docs/s, asynchronous API", ours.rate, "in-VM sink, best of 1/16/64", best.rate, :least, 6.0, ceiling),
      row("sustained docs/s, asynchronous API, random ids", random.rate, "in-VM sink, best of 1/16/64", best.rate, :least, 8.0),
      row("sustained docs/s, random ids, against rising ids", random.rate, "rising ids", ours.rate, :least, 0.6),
      row("the same, of the link", ours.rate, "raw casts into a node that only reads", casts, :least, 0.5),
      row("VM CPU us per projection, asynchronous", ours.vm_us, "in-VM sink, cheapest", cheapest, :most, 1 / 12),
      row("VM CPU us per projection, call kept, 64 callers", call, "in-VM sink, cheapest", cheapest, :most, 1 / 4),
      row("appending process us, p50", p50.p50, "in-VM call p50", p99.p50, :most, 1 / 100),
      row("appending process us, p99", p50.p99, "in-VM call p99", p99.p99, :most, 1 / 60),
      row("reductions per projection", ours.reductions, "in-VM sink, fewest", fewest, :most, 1 / 30),
      row("sidecar CPU us per document, batches", ours.sidecar_us, "-", nil, :most, 10.0)
    ]
  end

  defp async_sustained(stub) do
    s = start_sidecar(stub)
    fill(s, 100_000, :random)
    {:ok, %{pending: 0}} = :convex_sidecar.flush(s.name, 120_000)
    # in turns, so that what else goes on meets both
    both = repeat(fn -> %{rising: async_once(s, stub, 60_000), random: async_once(s, stub, 60_000, :random)} end)
    stop_sidecar(s)
    {by_key(both.rising), by_key(both.random)}
  end

  defp by_key(maps), do: for(key <- Map.keys(hd(maps)), into: %{}, do: {key, Enum.map(maps, & &1[key])})

  defp async_once(s, stub, n, ids \\ :rising) do
    ids = ids(ids, n)
    %{documents: before} = stub(stub, "/stats")
    {vm, sidecar, reductions, t0} = {vm_cpu_ns(), cpu_ns(s.pid), reductions(), now_us()}
    parallel(2, n, fn i -> :ok = :convex_sidecar.project_async(s.name, @kind, elem(ids, i - 1), @conveyor) end)
    stub(stub, "/await/#{before + n}")
    took = now_us() - t0

    %{
      rate: n / took * 1.0e6,
      vm_us: (vm_cpu_ns() - vm) / n / 1000,
      sidecar_us: (cpu_ns(s.pid) - sidecar) / n / 1000,
      reductions: (reductions() - reductions) / n
    }
  end

  # What the stub could take at most: documents a second of its own processor time.
  defp with_ceiling(stub, fun) do
    before = stub(stub, "/stats")
    result = fun.()
    later = stub(stub, "/stats")
    most = (later.documents - before.documents) / max(later.cpu_us - before.cpu_us, 1) * 1.0e6
    {result, "the stub could take #{round(most / 1000)},000 a second"}
  end

  defp raw_casts do
    {_, %{pid: _}} = tool = start_tool("raw_node", [~c"raw", Atom.to_charlist(Node.get_cookie())])
    dest = {:raw, :"raw@127.0.0.1"}
    request = Source.request("run_123456789")
    0 = GenServer.call(dest, :casts)

    %{rate: rates} =
      repeat(fn ->
        before = GenServer.call(dest, :casts)
        t0 = now_us()
        n = parallel(2, 200_000, fn _ -> GenServer.cast(dest, request) end)
        await_casts(dest, before + n)
        %{rate: n / (now_us() - t0) * 1.0e6}
      end)

    stop_tool(tool)
    rates
  end

  defp await_casts(dest, n) do
    if GenServer.call(dest, :casts, 60_000) < n, do: await_casts(dest, n)
  end

  defp in_vm(stub, callers) do
    for c <- callers do
      InVmSink.start(c)
      n = if c == 1, do: 5000, else: 12_000

      result =
        repeat(fn ->
          {vm, reductions, t0} = {vm_cpu_ns(), reductions(), now_us()}
          n = parallel(c, n, fn i -> in_vm_write(stub, i) end)
          took = now_us() - t0
          %{rate: n / took * 1.0e6, cpu_us: (vm_cpu_ns() - vm) / n / 1000, reductions: (reductions() - reductions) / n}
        end)

      InVmSink.stop()
      {c, result}
    end
  end

  defp in_vm_write(stub, i) do
    id = "run_#{i}"
    InVmSink.write(stub.url <> "/api/mutation", @kind, id, Source.row(id), Source.events())
  end

  defp timed(n, fun) do
    times =
      for i <- 1..n do
        t0 = now_ns()
        fun.(i)
        now_ns() - t0
      end

    %{p50: percentile(times, 0.5) / 1000, p99: percentile(times, 0.99) / 1000}
  end

  # An appender that does something else in between (here: 20 us), as appenders do.
  defp appender_us(stub) do
    s = start_sidecar(stub)

    result =
      repeat(fn ->
        prefix = id("")

        timed(20_000, fn i -> :ok = :convex_sidecar.project_async(s.name, @kind, prefix <> Integer.to_string(i), @conveyor) end)
        |> tap(fn _ -> :ok = :convex_sidecar.settle(s.name, 60_000) end)
      end)

    stop_sidecar(s)
    result
  end

  defp in_vm_us(stub) do
    InVmSink.start(1)
    result = repeat(fn -> timed(3000, fn i -> in_vm_write(stub, i) end) end)
    InVmSink.stop()
    result
  end

  defp kept_vm_cpu(stub) do
    s = start_sidecar(stub)

    %{us: us} =
      repeat(fn ->
        prefix = id("")
        vm = vm_cpu_ns()
        n = parallel(64, 12_800, fn i -> project(s, prefix, i) end)
        %{us: (vm_cpu_ns() - vm) / n / 1000}
      end)

    stop_sidecar(s)
    us
  end

  defp project(s, prefix, i), do: project(s, prefix <> Integer.to_string(i))

  defp project(s, id) do
    {:ok, _} = :convex_sidecar.project(s.name, @kind, id, Source.row(id), Source.events(), %{timeout: 60_000})
  end

  # ---- delivery against libcurl

  defp drain do
    stub = start_stub()
    body = Path.join(System.tmp_dir!(), "bench_body_#{System.pid()}.json")
    File.write!(body, drain_body())

    result =
      repeat(fn ->
        s = start_sidecar(stub, sink: [batch_mutation: ""])
        {:ok, :paused} = :convex_sidecar.pause(s.name)
        fill(s, 100_000)
        curl = run_tool("curl_loop", [stub.url <> "/api/mutation", 8, 100_000, body])
        {cpu, t0} = {cpu_ns(s.pid), now_us()}

        {took, ceiling} =
          with_ceiling(stub, fn ->
            %{documents: before} = stub(stub, "/stats")
            {:ok, :running} = :convex_sidecar.resume(s.name)
            stub(stub, "/await/#{before + 100_000}")
            now_us() - t0
          end)

        {:ok, %{pending: 0}} = :convex_sidecar.flush(s.name, 60_000)
        us = (cpu_ns(s.pid) - cpu) / 100_000 / 1000
        stop_sidecar(s)
        %{rate: 1.0e11 / took, cpu_us: us, curl_rate: curl.rate, curl_us: curl.cpu_us, ceiling: ceiling}
      end)

    File.rm!(body)
    stop_stub(stub)

    [
      row(
        "drain 100,000 pending, one a POST, docs/s",
        result.rate,
        "bare libcurl loop, 8 connections",
        result.curl_rate,
        :least,
        0.85,
        hd(result.ceiling)
      ),
      row("the same, sidecar CPU us per POST", result.cpu_us, "bare libcurl loop", result.curl_us, :most, 1.25),
      row("sidecar CPU us per document, one a POST", result.cpu_us, "-", nil, :most, 28.0)
    ]
  end

  # What the sidecar posts for one document of the bench.
  defp drain_body do
    id = id(1)
    alias OpenAgentsRuntime.Convex.{CanonicalJson, Summary}

    summary =
      Summary.summary(@kind, Map.put(Source.row(id), :run_id, id), %{count: 1, latest: Source.event(1)},
        projection_version: "convex_summary_v1"
      )

    summary = Map.put(summary, "projection_hash", CanonicalJson.hash(summary))

    ~s({"path":"runtime:upsertRunSummary","format":"convex_encoded_json","args":[{"document_id":"#{summary["document_id"]}","summary":#{CanonicalJson.encode(summary)}}]})
  end

  defp fill(s, n, ids \\ :rising) do
    parallel(2, div(n, 1000), fn _ ->
      requests = for id <- Tuple.to_list(ids(ids, 1000)), do: Source.request(id)
      {:ok, _} = :convex_sidecar.batch(s.name, requests, 60_000)
    end)
  end

  # ---- kept: what a caller waits

  defp kept do
    stub = start_stub()
    tool = start_tool("raw_node", [~c"raw", Atom.to_charlist(Node.get_cookie())])
    dest = {:raw, :"raw@127.0.0.1"}
    request = Source.request("run_123456789")
    s = start_sidecar(stub)

    one =
      repeat(fn ->
        commit = lmdb(900, 1, 1500).p50_us
        echo = timed(3000, fn _ -> GenServer.call(dest, request) end).p50
        prefix = id("")
        kept = timed(1500, fn i -> project(s, prefix, i) end)
        %{kept: kept.p50, p99: kept.p99, limit: commit + echo, commit: commit, echo: echo}
      end)

    many =
      for {callers, ids, calls, name} <- [{64, :rising, 30_000, ""}, {64, :random, 15_000, ", random ids"}, {1000, :rising, 30_000, ""}] do
        r =
          repeat(fn ->
            ids = ids(ids, calls)
            t0 = now_us()
            n = parallel(callers, calls, fn i -> project(s, elem(ids, i - 1)) end)
            t1 = now_us()
            m = parallel(callers, 2 * calls, fn _ -> GenServer.call(dest, request, 60_000) end)
            t2 = now_us()
            %{kept: n / (t1 - t0) * 1.0e6, echo: m / (t2 - t1) * 1.0e6}
          end)

        row("kept calls/s, #{callers} callers#{name}", r.kept, "echo calls", r.echo, :least, 0.7)
      end

    stop_sidecar(s)
    stop_tool(tool)
    stop_stub(stub)

    [
      row(
        "kept p50 us, one caller",
        one.kept,
        "LMDB commit of one + echo",
        one.limit,
        :most,
        1.25,
        "p99 #{round(median(one.p99))} us; commit #{round(median(one.commit))} us + echo #{round(median(one.echo))} us"
      )
      | many
    ]
  end

  defp lmdb(bytes, group, commits) do
    dir = tmp_dir()
    result = run_tool("lmdb_loop", [dir, bytes, group, commits])
    File.rm_rf!(dir)
    result
  end

  # Keeping alone (delivery paused), against LMDB alone; and as it is when Convex takes them meanwhile.
  defp batches do
    stub = start_stub()
    s = start_sidecar(stub)

    r =
      repeat(fn ->
        limit = lmdb(900, 1024, 60).rate
        meanwhile = batches_once(s)
        {:ok, _} = :convex_sidecar.flush(s.name, 60_000)
        {:ok, :paused} = :convex_sidecar.pause(s.name)
        kept = batches_once(s)
        {:ok, :running} = :convex_sidecar.resume(s.name)
        {:ok, _} = :convex_sidecar.flush(s.name, 60_000)
        %{kept: kept, meanwhile: meanwhile, lmdb: limit}
      end)

    stop_sidecar(s)
    stop_stub(stub)
    note = "#{round(median(r.meanwhile))}/s while all of it is delivered"
    [row("kept docs/s, batches of 64, 16 callers", r.kept, "LMDB appended, 1,024 a commit", r.lmdb, :least, 0.25, note)]
  end

  defp batches_once(s) do
    prefix = id("")
    t0 = now_us()

    n =
      parallel(16, 960, fn k ->
        requests = for i <- 1..64, do: Source.request("#{prefix}#{k}_#{i}")
        {:ok, _} = :convex_sidecar.batch(s.name, requests, 60_000)
      end)

    n * 64 / (now_us() - t0) * 1.0e6
  end

  # ---- one document through an idle sidecar

  defp idle do
    stub = start_stub()
    s = start_sidecar(stub)

    r =
      repeat(fn ->
        prefix = id("")

        times =
          for i <- 1..200 do
            %{documents: before} = stub(stub, "/stats")
            Process.sleep(2)
            t0 = now_us()
            project(s, prefix, i)
            t1 = now_us()
            stub(stub, "/await/#{before + 1}")
            {t1 - t0, now_us() - t0}
          end

        %{kept: times |> Enum.map(&elem(&1, 0)) |> median(), seen: times |> Enum.map(&elem(&1, 1)) |> median()}
      end)

    stop_sidecar(s)
    stop_stub(stub)
    more = Enum.zip_with(r.seen, r.kept, &((&1 - &2) / 1000))
    [row("idle, from kept to visible at the stub, ms (p50)", more, "-", nil, :most, 0.5)]
  end

  # ---- few documents, many events

  defp hot do
    stub = start_stub()
    s = start_sidecar(stub)
    counters = :ets.new(:bench_hot, [:public, write_concurrency: true])
    source = {Source, %{counters: counters}}
    prefix = id("")
    ids = List.to_tuple(for i <- 1..100, do: "#{prefix}#{i}")
    for i <- 0..99, do: :ets.insert(counters, {elem(ids, i), 0})

    r =
      repeat(fn ->
        before = stub(stub, "/stats")
        t0 = now_us()

        n =
          parallel(2, 400_000, fn i ->
            id = elem(ids, rem(i, 100))
            :ets.update_counter(counters, id, 1)
            :ok = :convex_sidecar.project_async(s.name, @kind, id, source)
          end)

        :ok = :convex_sidecar.settle(s.name, 60_000)
        t1 = now_us()
        after_ = stub(stub, "/stats")
        {:ok, _} = :convex_sidecar.flush(s.name, 60_000)
        %{events: n / (t1 - t0) * 1.0e6, writes: (after_.documents - before.documents) / (100 * ((t1 - t0) / 50_000 + 1))}
      end)

    for i <- 1..100//37 do
      id = elem(ids, i - 1)
      {:ok, %{seq: seq, state: "delivered"}} = :convex_sidecar.checkpoint(s.name, "runtime/run_summary:" <> id)
      ^seq = :ets.lookup_element(counters, id, 2)
    end

    stop_sidecar(s)
    stop_stub(stub)

    [
      row("100 hot documents: events/s accepted and folded", r.events, "-", nil, :least, 400_000),
      row("100 hot documents: writes to Convex", r.writes, "documents / min_interval", nil, :most, 1.0)
    ]
  end

  # ---- size

  defp checkpoints do
    stub = start_stub()

    [small, big] = for n <- [1000, 1_000_000], do: start_sidecar(stub) |> tap(&fill(&1, n, :random))
    for s <- [small, big], do: {:ok, %{pending: 0}} = :convex_sidecar.flush(s.name, 120_000)
    # in turns, so that what else goes on meets both
    once = fn s, ids -> async_once(s, stub, 60_000, ids).rate end

    r =
      repeat(fn ->
        %{few: once.(small, :rising), many: once.(big, :rising), few_random: once.(small, :random), many_random: once.(big, :random)}
      end)

    stop_sidecar(small)
    {:ok, :paused} = :convex_sidecar.pause(big.name)
    fill(big, 100_000)
    stop_sidecar(big, true)
    starts = for _ <- 1..5, do: start_ms(stub, big.dir)
    File.rm_rf!(big.dir)
    stop_stub(stub)

    [
      row("docs/s with 1,000,000 checkpoints", r.many, "with 1,000", r.few, :least, 0.85),
      row("docs/s with 1,000,000 checkpoints, random ids", r.many_random, "with 1,000", r.few_random, :least, 0.6),
      row("start to ready, 1,000,000 checkpoints and 100,000 pending, ms", starts, "-", nil, :most, 100)
    ]
  end

  defp start_ms(stub, dir) do
    t0 = now_us()
    # no latency that would let it deliver before it is stopped again: half a minute
    stub(stub, "/latency/30000000")
    s = start_sidecar(stub, dir: dir, instance: [drain_ms: 0])
    took = (now_us() - t0) / 1000
    stop_sidecar(s, true)
    stub(stub, "/latency/0")
    took
  end

  # The two take turns, so that what else goes on meets both.
  defp append do
    stub = start_stub()
    s = start_sidecar(stub)
    {short, long} = {id("short"), id("long")}
    Task.async(fn -> for {run, length} <- [{short, 10}, {long, 100_000}], do: history(s, run, length) end) |> Task.await(60_000)
    r = repeat(9, true, fn -> %{short: append_us(s, short), long: append_us(s, long)} end)
    stop_sidecar(s)
    stop_stub(stub)
    [row("append to a run of 100,000 events, CPU us (VM and sidecar)", r.long, "to a run of 10", r.short, :most, 1.1)]
  end

  defp append_us(s, run) do
    {:ok, %{folded_seq: last}} = :convex_sidecar.checkpoint(s.name, "runtime/run_summary:" <> run)
    {vm, sidecar} = {vm_cpu_ns(), cpu_ns(s.pid)}

    for seq <- (last + 1)..(last + 300) do
      {:ok, _} = :convex_sidecar.project(s.name, @kind, run, %{Source.row(run) | latest_seq: seq}, [Source.event(seq)])
    end

    (vm_cpu_ns() - vm + cpu_ns(s.pid) - sidecar) / 300 / 1000
  end

  defp history(s, run, length) do
    for first <- 1..length//5000 do
      events = Enum.map(first..min(length, first + 4999)//1, &Source.event/1)
      {:ok, _} = :convex_sidecar.project(s.name, @kind, run, Source.row(run), events, %{timeout: 60_000})
    end
  end

  # ---- instructions

  defp instructions do
    file = Path.join(System.tmp_dir!(), "bench_term_#{System.pid()}.etf")
    File.write!(file, :erlang.term_to_binary(Source.request("run_123456789"), minor_version: 2))
    walk = callgrind("walk", file)
    make = callgrind("make", file)
    time = run_tool("make_loop", ["make", file, 20_000])
    File.rm!(file)

    [
      row(
        "instructions: term -> checked -> JSON + hash + records",
        make,
        "a walk that copies nothing",
        walk,
        :most,
        12.0,
        "#{round(time.json)} B of JSON, #{Float.round(time.us, 1)} us"
      )
    ]
  end

  defp callgrind(mode, file) do
    args = ["--tool=callgrind", "--callgrind-out-file=/dev/null", "--toggle-collect=bench_#{mode}", tool("make_loop"), mode, file, "200"]
    {out, 0} = System.cmd("valgrind", args, stderr_to_stdout: true)
    [_, n] = Regex.run(~r/Collected : (\d+)/, out)
    String.to_integer(n) / 200
  end

  # ---- memory

  defp memory do
    stub = start_stub()
    s = start_sidecar(stub)
    Process.sleep(500)
    {anon, file} = rss_mb(s.pid)
    {:ok, :paused} = :convex_sidecar.pause(s.name)
    fill(s, 1_000_000)
    Process.sleep(500)
    {full, _} = rss_mb(s.pid)
    {:ok, :running} = :convex_sidecar.resume(s.name)
    Process.sleep(1000)
    {draining, _} = rss_mb(s.pid)
    stop_sidecar(s)
    stop_stub(stub)

    [
      row(
        "resident memory idle, MB",
        anon + file,
        "-",
        nil,
        :most,
        16.0,
        "of it #{Float.round(anon, 1)} MB its own, the rest shared libraries and the map"
      ),
      row("resident memory beyond the map, 1,000,000 pending, MB", max(full, draining), "-", nil, :most, 60.0)
    ]
  end

  # ---- a Convex that takes its time

  defp slow do
    stub = start_stub()
    stub(stub, "/latency/10000")
    s = start_sidecar(stub)
    ours = repeat(fn -> async_once(s, stub, 60_000) end).rate
    stop_sidecar(s)
    [{8, theirs}] = slow_in_vm(stub)
    stop_stub(stub)
    [row("docs/s, 10 ms an answer, 8 in flight", ours, "in-VM sink, 8 callers", theirs, :least, 50.0)]
  end

  defp slow_in_vm(stub) do
    InVmSink.start(8)

    %{rate: rates} =
      repeat(fn ->
        t0 = now_us()
        n = parallel(8, 1600, fn i -> in_vm_write(stub, i) end)
        %{rate: n / (now_us() - t0) * 1.0e6}
      end)

    InVmSink.stop()
    [{8, rates}]
  end

  # ---- rebuild

  # In turns: 60,000 marks, and a file of 60,000 runs through `convex_sidecar rebuild --from FILE`.
  defp rebuild do
    stub = start_stub()
    s = start_sidecar(stub)
    file = Path.join(s.dir, "history.jsonl")

    r =
      repeat(fn ->
        sustained = async_once(s, stub, 60_000).rate
        history_file(file, 60_000)
        %{sustained: sustained, rebuild: rebuild_once(s, stub, file, 60_000)}
      end)

    stop_sidecar(s)
    stop_stub(stub)
    [row("rebuild from a file, docs/s", r.rebuild, "sustained, the same run", r.sustained, :least, 1.0)]
  end

  # As OpenAgentsRuntime.Convex.Export writes it.
  defp history_file(file, n) do
    prefix = id("")

    lines =
      for i <- 1..n do
        id = prefix <> Integer.to_string(i)
        row = Summary.columns(@kind, Source.row(id))
        [CanonicalJson.encode(%{"kind" => "run_summary", "id" => id, "row" => row, "events" => Source.events()}), ?\n]
      end

    File.write!(file, lines)
  end

  # From the start of the program until Convex has the last document.
  defp rebuild_once(s, stub, file, n) do
    %{documents: before} = stub(stub, "/stats")
    t0 = now_us()

    {out, 0} =
      System.cmd(Application.app_dir(:convex_sidecar, "priv/convex_sidecar"), ["rebuild", "--from", file, "--store", s.dir, "--json"],
        stderr_to_stdout: true
      )

    true = out =~ ~s("written":#{n},"skipped":0,"failed":0)
    stub(stub, "/await/#{before + n}")
    n / (now_us() - t0) * 1.0e6
  end

  # ---- what an append costs the process that makes it, whatever becomes of Convex and the sidecar

  defp append_latency do
    lines = Bench.Append.measure()
    Bench.Append.print(lines)

    for %{log: log} = line <- lines do
      target = if log == Bench.Append.Memory, do: 10.0, else: 1.5
      name = "append us p50, #{log |> Module.split() |> List.last()} log, #{line.case}"

      row(
        name,
        line.p50,
        "projection switched off",
        line.off_p50,
        :most,
        target,
        "p99 #{round(median(line.p99))} us, off #{round(median(line.off_p99))} us"
      )
    end
  end
end
