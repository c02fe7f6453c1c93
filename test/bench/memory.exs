# memory.exs - what a backlog costs the sidecar, and how fast it starts with one.
#
#   BENCH_SCRIPT=memory.exs test/bench/run [PENDING [CHECKPOINTS [LATER]]]
#
# PENDING documents of 1 KB (default: a million) are kept while delivery is paused, in batches;
# RssAnon is the process's own memory, RssFile the mapped store, which is the page cache's.  Then
# all is delivered (noop sink), so that as many checkpoints are there; LATER documents (default:
# 100,000) are kept, and the sidecar is stopped and started again, with its file in the page cache
# and without.  Exit status 1: a target is missed.

Code.require_file("kit.exs", __DIR__)

defmodule Bench.Memory do
  import Bench.Kit

  @batch 500
  @callers 4
  @pad String.duplicate("x", 330)

  def run(args) do
    [pending, later] =
      case Enum.map(args, &String.to_integer/1) do
        [] -> [1_000_000, 100_000]
        [n] -> [n, div(n, 10)]
        [n, m | _] -> [n, m]
      end

    s = start()
    {empty, _} = rss_mb(s.pid)
    :ok = word(s, :pause)
    us = fill(s, "a", pending)
    {anon, file} = rss_mb(s.pid)
    {:ok, status} = :convex_sidecar.status(s.name)
    bytes = status.metrics.pending_bytes

    say(
      "#{pending} pending, #{Float.round(bytes / pending, 1)} bytes of JSON each, kept in #{seconds(us)} s (#{round(pending * 1.0e6 / us)}/s)"
    )

    say("empty: #{mb(empty)}; with them RssAnon #{mb(anon)}, RssFile #{mb(file)}, store #{mb(size(s) / 1_048_576)}")
    t0 = now_us()
    :ok = word(s, :resume)
    await_delivered(s)
    {delivered, _} = rss_mb(s.pid)
    say("delivered in #{seconds(now_us() - t0)} s; RssAnon #{mb(delivered)}")
    :ok = word(s, :pause)
    fill(s, "b", later)
    peak = peak_mb(s.pid)
    {warm, s} = restart(s, false)
    {cold, s} = restart(s, true)
    {:ok, status} = :convex_sidecar.status(s.name)

    say(
      "#{status.metrics.checkpoints} checkpoints, #{status.metrics.pending} pending: ready in #{ms(warm)} ms, from a cold file in #{ms(cold)} ms; store #{mb(size(s) / 1_048_576)}"
    )

    stop_sidecar(s)
    verdict([{"RssAnon under 120 MB", max(anon, delivered) < 120}, {"ready in under a second", warm < 1_000_000}])
    say("VmHWM before the restart (the mapped file included): #{mb(peak)}")
  end

  @noop [type: "noop"]
  @nobody [type: "http", base_url: "http://127.0.0.1:9", admin_key: "none"]

  defp start(dir \\ tmp_dir(), sink \\ @noop) do
    name = :"bench_#{System.unique_integer([:positive])}"
    config = [sink: sink, store: [limit_bytes: "8g"], log: [level: "error"]]
    Process.flag(:trap_exit, true)

    {:ok, _} = :convex_sidecar.start_link(name: name, node: :"#{name}@127.0.0.1", store_dir: dir, config: config, start_ms: 60_000)

    :ok = :convex_sidecar.await(name, 60_000)
    {:ok, %{pid: pid}} = :convex_sidecar.status(name)
    %{name: name, dir: dir, pid: pid, server: {:convex_sidecar, :"#{name}@127.0.0.1"}}
  end

  defp word(s, word), do: :gen_server.call(s.server, word, 60_000) |> ok()
  defp ok({:ok, _}), do: :ok
  defp ok(:ok), do: :ok

  defp fill(s, prefix, count) do
    t0 = now_us()
    parallel(@callers, div(count, @batch), fn n -> batch(s, prefix, n) end)
    now_us() - t0
  end

  defp batch(s, prefix, n) do
    items = for i <- 1..@batch, do: request("#{prefix}#{String.pad_leading(Integer.to_string(n * @batch + i), 9, "0")}")

    case :gen_server.call(s.server, {:batch, items}, 120_000) do
      {:ok, replies} -> Enum.each(replies, fn {:ok, %{write: "queued"}} -> :ok end)
      {:error, :busy} -> batch(s, prefix, n)
    end
  end

  defp request(id) do
    row = Map.put(Bench.Source.row(id), :terminal_reason, @pad)
    {:project, :run_summary, id, row, Bench.Source.events(), %{}}
  end

  defp await_delivered(s) do
    {:ok, %{metrics: %{pending: n}}} = :convex_sidecar.status(s.name)

    if n > 0 do
      Process.sleep(50)
      await_delivered(s)
    end
  end

  # How long the program needs to say "ready", the VM's part included.
  defp restart(s, cold) do
    stop_sidecar(s, true)
    if cold, do: drop_cache(s)
    t0 = now_us()
    s = start(s.dir, @nobody)
    {now_us() - t0, s}
  end

  defp drop_cache(s),
    do: System.cmd("dd", ["of=#{s.dir}/data.mdb", "oflag=nocache", "conv=notrunc,fdatasync", "count=0"], stderr_to_stdout: true)

  defp size(s), do: File.stat!(Path.join(s.dir, "data.mdb")).size

  defp peak_mb(pid) do
    [_, kb] = Regex.run(~r/VmHWM:\s+(\d+) kB/, File.read!("/proc/#{pid}/status"))
    String.to_integer(kb) / 1024
  end

  defp say(text), do: IO.puts(text)
  defp mb(n), do: "#{Float.round(n / 1, 1)} MB"
  defp ms(us), do: Float.round(us / 1000, 1)
  defp seconds(us), do: Float.round(us / 1.0e6, 1)

  defp verdict(rows) do
    for {row, met} <- rows, do: say("#{row}: #{if met, do: "met", else: "MISSED"}")
    unless Enum.all?(rows, &elem(&1, 1)), do: System.at_exit(fn _ -> exit({:shutdown, 1}) end)
  end
end

Bench.Memory.run(System.argv())
