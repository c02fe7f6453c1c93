# otherside.exs - what test/otherside/run measures: see there.

defmodule Otherside.Log do
  @moduledoc "An event log made up from the id; how many events an entity has is counted in a table."
  @behaviour OpenAgentsRuntime.Convex.EventLog
  @t ~U[2026-02-19 20:00:00.123456Z]

  def open, do: :ets.new(__MODULE__, [:named_table, :public, write_concurrency: true])
  def append(id), do: :ets.update_counter(__MODULE__, id, 1, {id, 1})
  def id(n), do: "e#{1_000_000_000 + n}"

  defp last(id), do: :ets.lookup_element(__MODULE__, id, 2)

  @impl true
  def row(:run_summary, id) do
    {:ok, %{run_id: id, thread_id: "thread of #{id}", status: "running", owner_user_id: 1, latest_seq: last(id), updated_at: @t}}
  end

  @impl true
  def events_after(_kind, id, seq, limit) do
    for s <- (seq + 1)..min(last(id), seq + limit)//1, do: %{seq: s, event_type: "step.#{s}", inserted_at: DateTime.add(@t, s)}
  end

  @impl true
  def ids(:run_summary, after_id, limit) do
    from = if after_id, do: String.to_integer(String.slice(after_id, 1..-1)) - 1_000_000_000 + 1, else: 1
    count = :ets.info(__MODULE__, :size)
    for n <- from..min(from + limit - 1, count)//1, do: id(n)
  end

  def ids(_kind, _after, _limit), do: []
end

defmodule Otherside do
  alias OpenAgentsRuntime.Convex.{Projector, Sidecar}

  @name :otherside
  @live_each_ms 20
  @mend_ms 900_000

  defp documents, do: "OTHERSIDE_DOCUMENTS" |> System.fetch_env!() |> String.to_integer()
  defp live_s, do: "OTHERSIDE_LIVE_S" |> System.fetch_env!() |> String.to_integer()
  defp dir, do: System.fetch_env!("OTHERSIDE_DIR")

  # ---- stand-ins

  def standin(name, port \\ 0) do
    state = Path.join(dir(), name)
    File.mkdir_p!(state)

    env = [
      {"PORT", "#{port}"},
      {"STANDIN_STATE", state},
      {"STANDIN_LIFELINE", "1"},
      {"STANDIN_BUILD", ".build/#{System.fetch_env!("OTHERSIDE_BUILD")}-#{name}"}
    ]

    server =
      Port.open({:spawn_executable, System.find_executable("node")}, [
        :binary,
        :exit_status,
        line: 10_000,
        args: [Path.expand("test/convex/server.mjs")],
        env: for({k, v} <- env, do: {String.to_charlist(k), String.to_charlist(v)})
      ])

    ready(server, name)
  end

  defp ready(server, name) do
    receive do
      {^server, {:data, {:eol, "READY " <> info}}} ->
        field = fn key -> Regex.run(~r/"#{key}":"([^"]*)"/, info) |> List.last() end
        {:os_pid, pid} = Port.info(server, :os_pid)
        %{url: field.("url"), key: field.("admin_key"), pid: pid, server: server}

      {^server, {:data, _}} ->
        ready(server, name)

      {^server, {:exit_status, status}} ->
        raise "the stand-in #{name} ended with status #{status}"
    end
  end

  defp kill(standin) do
    {_, 0} = System.cmd("kill", ["-9", "#{standin.pid}"])
    server = standin.server

    receive do
      {^server, {:exit_status, _}} -> :ok
    end
  end

  defp control(standin, what, body \\ "") do
    request = {String.to_charlist("#{standin.url}/__standin/#{what}"), [], ~c"application/json", body}
    {:ok, {{_, 200, _}, _, answer}} = :httpc.request(:post, request, [timeout: 120_000], body_format: :binary)
    answer
  end

  # ---- the sidecar

  defp lead_to(standin) do
    File.write!(Path.join(dir(), "key"), standin.key)
    File.chmod!(Path.join(dir(), "key"), 0o600)
    :persistent_term.put(:url, standin.url)
  end

  defp config do
    [
      sink: [type: :http, base_url: :persistent_term.get(:url), admin_key_file: Path.join(dir(), "key")],
      delivery: [mark_ms: 1000],
      log: [level: :error]
    ]
  end

  defp start do
    Application.put_env(:openagents_runtime, :convex_event_log, Otherside.Log)
    Application.put_env(:openagents_runtime, :convex_sidecar, name: @name)
    {:ok, _} = Application.ensure_all_started(:convex_sidecar)
    options = [name: @name, store_dir: Path.join(dir(), "store"), catch_up: false, config: &config/0]
    {:ok, _} = Supervisor.start_link([{Sidecar, options}], strategy: :one_for_one)
    :ok = :convex_sidecar.await(@name, 20_000)
  end

  defp restart do
    {:ok, _} = :convex_sidecar.restart(@name)
    :ok = :convex_sidecar.await(@name, 20_000)
  end

  defp destination do
    case :convex_sidecar.status(@name) do
      {:ok, status} -> status.destination
      _ -> nil
    end
  end

  defp populate(from, to) do
    for n <- from..to do
      Otherside.Log.append(Otherside.Log.id(n))
      :ok = Projector.project_run_async(Otherside.Log.id(n))
    end

    :ok = :convex_sidecar.settle(@name, 600_000)
    {:ok, _} = :convex_sidecar.flush(@name, 600_000)
  end

  # ---- live projections: one entity each 20 ms, another each time, until Convex has confirmed it

  defp live do
    parent = self()
    spawn_link(fn -> live(parent, [], 0) end)
  end

  defp live(parent, times, n) do
    me = self()

    spawn(fn ->
      id = Otherside.Log.id(rem(n * 7919, documents()) + 1)
      from = System.monotonic_time(:microsecond)
      Otherside.Log.append(id)
      answer = Projector.project_run(id, ack: :written, return: nil, deadline_ms: 30_000, wait: true, timeout: 31_000)
      took = System.monotonic_time(:microsecond) - from
      send(me, {:took, from, if(match?({:ok, _}, answer), do: took / 1000, else: 31_000.0)})
    end)

    receive do
      :stop -> send(parent, {:times, drain(times)})
    after
      @live_each_ms -> live(parent, drain(times), n + 1)
    end
  end

  defp drain(times) do
    receive do
      {:took, from, ms} -> drain([{from, ms} | times])
    after
      0 -> times
    end
  end

  defp stop_live(pid) do
    send(pid, :stop)

    receive do
      {:times, times} -> times
    end
  end

  # What began at from or later; ms.
  defp since(times, from), do: for({at, ms} <- times, at >= from, do: ms)

  defp percentile([], _q), do: 0.0
  defp percentile(times, q), do: times |> Enum.sort() |> Enum.at(min(length(times) - 1, trunc(q * length(times))))

  # ---- a change

  defp until(fun, deadline) do
    cond do
      fun.() -> :ok
      System.monotonic_time(:millisecond) > deadline -> :late
      true -> Process.sleep(50) && until(fun, deadline)
    end
  end

  defp seconds(from), do: (System.monotonic_time(:millisecond) - from) / 1000

  defp change(what, fun) do
    before = standing()
    live = live()
    from = System.monotonic_time(:millisecond)
    fun.()
    :ok = until(fn -> standing() != before end, from + 120_000)
    said = seconds(from)
    said_at = System.monotonic_time(:microsecond)
    mended = until(fn -> match?(%{doubt: nil}, destination()) end, from + @mend_ms)
    right = seconds(from)
    times = stop_live(live)
    {:ok, _} = :convex_sidecar.flush(@name, 120_000)
    {:ok, audit} = :convex_sidecar.audit(@name, :all, %{timeout: 600_000})
    wrong = audit.missing + audit.stale + audit.ahead + audit.altered
    IO.puts("  #{what}: said #{said} s, right #{right} s, #{mended}, #{wrong} wrong of #{audit.checked}")
    mending = since(times, said_at)
    before = for {at, ms} <- times, at < said_at, do: ms
    {what, said, right, Enum.max(before, fn -> 0.0 end), mending, mended == :ok and wrong == 0}
  end

  # A doubt and who is there are recorded together, and a restart forgets neither; a sidecar that is away says nothing new.
  defp standing do
    case destination() do
      nil -> Process.get(:standing)
      d -> {d.deployment, d.store_id, d.doubt && d.doubt.since} |> tap(&Process.put(:standing, &1))
    end
  end

  defp row({what, said, right, before, times, _ok}) do
    "| #{what} | #{format(said)} | #{format(right)} | #{format(before)} | #{format(percentile(times, 0.5))} | #{format(percentile(times, 0.99))} | #{length(times)} |"
  end

  defp format(number), do: :erlang.float_to_binary(number / 1, decimals: 1)

  def main do
    {:ok, _} = Application.ensure_all_started(:inets)
    Logger.configure(level: :error)
    Otherside.Log.open()
    n = documents()
    a = standin("a")
    lead_to(a)
    start()
    IO.puts("#{n} documents are kept and confirmed ...")
    populate(1, div(n, 2))
    control(a, "snapshot")
    # What the old export and the backup do not have: later versions, and the other half.
    Process.sleep(2500)
    populate(1, div(n, 4))
    Process.sleep(2500)
    populate(div(n, 2) + 1, n)
    quiet = live()
    Process.sleep(1000 * live_s())
    quiet = quiet |> stop_live() |> Enum.map(&elem(&1, 1))

    rows = [
      change("half the rows imported from an old export", fn -> control(a, "import") end),
      change("restored to an earlier state", fn -> control(a, "restore") end),
      change("state thrown away", fn -> control(a, "wipe") end)
    ]

    b = standin("b")

    rows =
      rows ++
        [
          change("base_url pointed at another", fn ->
            lead_to(b)
            restart()
          end)
        ]

    rows =
      rows ++
        [
          change("key and instance changed", fn ->
            kill(b)
            lead_to(standin("c", URI.parse(b.url).port))
          end)
        ]

    IO.puts("\n#{n} documents; live: one each #{@live_each_ms} ms, append to confirmed: the longest that began before the change")
    IO.puts("was said (the endpoint may be away), and all that began while it was mended\n")
    IO.puts("| change | said, s | right, s | before, max ms | live p50, ms | live p99, ms | live |")
    IO.puts("| --- | --- | --- | --- | --- | --- | --- |")
    IO.puts("| (quiet) | | | | #{format(percentile(quiet, 0.5))} | #{format(percentile(quiet, 0.99))} | #{length(quiet)} |")
    Enum.each(rows, &IO.puts(row(&1)))
    System.halt(if Enum.all?(rows, &elem(&1, 5)), do: 0, else: 1)
  end
end

Otherside.main()
