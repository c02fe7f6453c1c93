defmodule Bench.VersionRows do
  @moduledoc "The rows of `Bench.Versions`: this version beside 0.1.1, and random ids beside rising ones."
  import Bench.Kit
  alias Bench.Versions

  @turns 5

  def measure do
    stub = start_stub()
    old = Versions.start(:old, Path.join(root(), "build/0.1.1/_build/prod/lib/convex_sidecar/ebin"), stub)
    new = Versions.start(:new, to_string(:code.lib_dir(:convex_sidecar, :ebin)), stub)
    rows = batches(old, new) ++ kept(old, new) ++ appends(stub, old, new) ++ idle(old, new) ++ starts(stub, old, new)
    for version <- [old, new], do: Versions.stop(version)
    stop_stub(stub)
    rows
  end

  # What `fun` measures of each version, in turns: `%{old: %{key => [..]}, new: %{key => [..]}}`.
  defp in_turns(old, new, turns \\ @turns, fun) do
    both = repeat(turns, true, fn -> for(v <- [old, new], {key, value} <- fun.(v), into: %{}, do: {{v.name, key}, value}) end)
    for name <- [:old, :new], into: %{}, do: {name, for({{^name, key}, list} <- both, into: %{}, do: {key, list})}
  end

  defp batches(old, new) do
    r =
      in_turns(old, new, fn v ->
        for ids <- [:random, :rising], {which, m} <- Versions.ask(v, :batches, [v.sidecar, ids]), {key, n} <- m, into: %{} do
          {{which, ids, key}, n}
        end
      end)

    both = fn which, ids, key -> {r.new[{which, ids, key}], r.old[{which, ids, key}]} end
    [first, further] = for which <- [:first, :further], do: both.(which, :random, :rate)
    [first_bytes, further_bytes] = for which <- [:first, :further], do: both.(which, :random, :bytes)
    {rising, rising_old} = both.(:further, :rising, :rate)
    {rising_first, _} = both.(:first, :rising, :rate)
    {store, _} = both.(:further, :random, :store_us)
    {rising_store, _} = both.(:further, :rising, :store_us)
    {cpu, cpu_old} = both.(:further, :random, :cpu_us)

    [
      row(
        "random ids, further versions, batches of 64, 16 callers, kept and confirmed, docs/s",
        elem(further, 0),
        "rising ids",
        rising,
        :least,
        0.85
      ),
      row("the same, store thread's CPU us a version", store, "rising ids", rising_store, :most, 1.25),
      row("random ids, first versions, docs/s", elem(first, 0), "rising ids", rising_first, :least, 0.6),
      row("random ids, further versions, docs/s against 0.1.1", elem(further, 0), "0.1.1", elem(further, 1), :least, 1.8),
      row("random ids, first versions, docs/s against 0.1.1", elem(first, 0), "0.1.1", elem(first, 1), :least, 1.0),
      row("rising ids, further versions, docs/s against 0.1.1", rising, "0.1.1", rising_old, :least, 1.0),
      row("random ids, further versions, sidecar's CPU us against 0.1.1", cpu, "0.1.1", cpu_old, :most, 1.0),
      row(
        "bytes written a further version, random ids, against 0.1.1",
        elem(further_bytes, 0),
        "0.1.1",
        elem(further_bytes, 1),
        :most,
        0.5
      ),
      row("bytes written a first version, random ids, against 0.1.1", elem(first_bytes, 0), "0.1.1", elem(first_bytes, 1), :most, 1.0)
    ]
  end

  defp kept(old, new) do
    r = in_turns(old, new, fn v -> Versions.ask(v, :kept, [v.sidecar, 500]) end)
    sync = repeat(fn -> synced_writes(500) end)

    [
      row("kept p50 us, one caller, random ids, against 0.1.1", r.new.p50, "0.1.1", r.old.p50, :most, 0.8),
      row("kept p99 us, one caller, random ids, against 0.1.1", r.new.p99, "0.1.1", r.old.p99, :most, 0.8),
      row(
        "kept p50 us, one caller, against one synced sequential write",
        r.new.p50,
        "1 KB appended, fdatasync",
        sync.p50,
        :most,
        3.0,
        "p99 #{round(median(r.new.p99))} us against #{round(median(sync.p99))}"
      )
    ]
  end

  # One synced sequential write of the bytes that a kept document has.
  defp synced_writes(n) do
    path = Path.join(tmp_dir(), "journal")
    {:ok, file} = :file.open(path, [:raw, :write, :binary])
    bytes = :crypto.strong_rand_bytes(1024)

    times =
      for _ <- 1..n do
        t0 = now_ns()
        :ok = :file.write(file, bytes)
        :ok = :file.datasync(file)
        (now_ns() - t0) / 1000
      end

    :ok = :file.close(file)
    File.rm_rf!(Path.dirname(path))
    %{p50: percentile(times, 0.5), p99: percentile(times, 0.99)}
  end

  # From the append (asynchronous form) to the POST at the stub.
  defp appends(stub, old, new) do
    for {rate, n} <- [{100, 200}, {500, 1000}, {1000, 2000}] do
      r =
        in_turns(old, new, 3, fn v ->
          stub(stub, "/arrivals")
          Versions.ask(v, :appends, [v.sidecar, n, rate])
          %{count: ^n} = arrived = stub(stub, "/arrivals")
          %{p50: arrived.p50_us / 1000, p99: arrived.p99_us / 1000}
        end)

      row(
        "append to POST, #{rate} appends/s, ms p50, against 0.1.1",
        r.new.p50,
        "0.1.1",
        r.old.p50,
        :most,
        1.1,
        "p99 #{Float.round(median(r.new.p99), 1)} ms against #{Float.round(median(r.old.p99), 1)}"
      )
    end
  end

  defp idle(old, new) do
    r =
      in_turns(old, new, 3, fn v -> Map.merge(Versions.ask(v, :idle, [v.sidecar, 2000]), Versions.ask(v, :append_us, [v.sidecar, 5000])) end)

    [
      row("idle, sidecar's CPU us a second", r.new.sidecar_us, "-", nil, :most, 1000.0, "0.1.1: #{round(median(r.old.sidecar_us))}"),
      row("idle, VM's CPU us a second", r.new.vm_us, "-", nil, :most, 5000.0, "0.1.1: #{round(median(r.old.vm_us))}"),
      row("own memory with 100,000 checkpoints, MB", r.new.anon_mb, "0.1.1", r.old.anon_mb, :most, 1.1),
      row(
        "appending process us p50, against 0.1.1",
        r.new.p50,
        "0.1.1",
        r.old.p50,
        :most,
        1.1,
        "p99 #{Float.round(median(r.new.p99), 1)} us against #{Float.round(median(r.old.p99), 1)}"
      )
    ]
  end

  defp starts(stub, old, new) do
    {times, _} =
      Enum.map_reduce(1..@turns, [old, new], fn _, versions ->
        restarted = for v <- versions, do: {v, Versions.ask(v, :restart, [v.sidecar, stub])}
        {for({v, {ms, _}} <- restarted, into: %{}, do: {v.name, ms}), for({v, {_, s}} <- restarted, do: %{v | sidecar: s})}
      end)

    [row("start to ready over the bench's store, ms", Enum.map(times, & &1.new), "0.1.1", Enum.map(times, & &1.old), :most, 1.1)]
  end
end
