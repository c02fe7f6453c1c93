# See test/scale/audit.
[dir, count] = System.argv()
count = div(String.to_integer(count), 1000) * 1000
{:ok, _} = Application.ensure_all_started(:convex_sidecar)
Logger.configure(level: :error)

start = fn config ->
  {:ok, _} = :convex_sidecar.start_link(name: :scale, store_dir: dir, config: config)
  :ok = :convex_sidecar.await(:scale, 30_000)
end

own_memory = fn ->
  {:ok, %{pid: pid}} = :convex_sidecar.status(:scale)
  [kb] = Regex.run(~r/RssAnon:\s+(\d+) kB/, File.read!("/proc/#{pid}/status"), capture: :all_but_first)
  String.to_integer(kb)
end

event = [%{seq: 1, event_type: "run.started", inserted_at: nil}]
request = fn i -> {:project, :run_summary, String.pad_leading("#{i}", 9, "0"), %{status: "running"}, event, %{}} end
convex = [sink: [type: :http, base_url: System.fetch_env!("CONVEX_URL"), admin_key: System.fetch_env!("CONVEX_ADMIN_KEY")]]
standing = System.get_env("STANDING") == "1"
start.(if standing, do: convex, else: [])

{us, _} =
  :timer.tc(fn ->
    0..(div(count, 1000) - 1)
    |> Task.async_stream(
      fn b -> {:ok, _} = :convex_sidecar.batch(:scale, for(i <- 0..999, do: request.(b * 1000 + i)), %{timeout: 60_000}) end,
      max_concurrency: 4,
      timeout: :infinity
    )
    |> Stream.run()
  end)

{:ok, %{pending: 0}} = :convex_sidecar.flush(:scale, 3_600_000)

unless standing do
  :ok = :convex_sidecar.stop(:scale)
  start.(convex)
end

# Now the deployment's limits are those that are asked for.
if limits = System.get_env("LIMITS") do
  {:ok, _} = Application.ensure_all_started(:inets)
  url = String.to_charlist(System.fetch_env!("CONVEX_URL") <> "/__standin/config")
  {:ok, {{_, 200, _}, _, _}} = :httpc.request(:post, {url, [], ~c"application/json", limits}, [], [])
end

before = own_memory.()
{:ok, report} = :convex_sidecar.audit(:scale, :run_summary, %{timeout: 3_600_000})
later = own_memory.()
:ok = :convex_sidecar.stop(:scale)

IO.puts("""
  documents kept            #{count} in #{div(us, 1000)} ms
  checked                   #{report.checked} in #{report.took_ms} ms
  missing, as they must be  #{report.missing}
  findings                  #{length(report.findings)}
  own memory, kB            #{before} before, #{later} after
""")

report.stopped && IO.puts("  stopped behind #{report.next}: #{report.stopped}")

missing = if standing, do: 0, else: count

(report.checked == count and report.missing == missing and (not standing or report.findings == []) and later < before + 16_384) ||
  System.halt(1)
