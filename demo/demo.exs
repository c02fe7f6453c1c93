# A small runtime: runs are commands on this machine, whose start, output lines and exit become run
# events; a codex worker runs beside them. Each append marks its entity for projection. Halfway
# through, the sidecar is killed with SIGKILL and restarted by its supervisor. At the end every
# document must match the event log.
alias OpenAgentsRuntime.Convex.{CanonicalJson, DiskEventLog, HttpSink, Projector, Sidecar, Summary}

if System.get_env("LOG") == "postgres", do: Code.require_file("postgres_log.exs", __DIR__)

defmodule Demo do
  @log if System.get_env("LOG") == "postgres", do: Demo.PostgresLog, else: DiskEventLog
  def log, do: @log

  @commands [
    {"disk usage", "df -h"},
    {"the kernel's messages about cpus", "cat /proc/cpuinfo"},
    {"a long listing", "ls -l /usr/bin | head -600"},
    {"counting slowly", "for i in $(seq 1 150); do echo step $i of 150; sleep 0.02; done"},
    {"what is mounted", "cat /proc/mounts"},
    {"a command that fails", "echo looking; ls /nowhere; exit 3"},
    {"memory", "cat /proc/meminfo"},
    {"counting in steps", "for i in $(seq 1 60); do echo batch $i; sleep 0.05; done"}
  ]
  @worker "demo-worker"

  def commands,
    do: Enum.with_index(@commands, fn {name, command}, i -> {"run_#{i + 1}", name, command} end)

  def worker, do: @worker

  # One run: an operating-system process whose start, output lines and exit are appended.
  def run({run_id, name, command}, owner \\ 42) do
    columns = %{thread_id: name, status: "running", owner_user_id: owner}
    :ok = @log.create_run(run_id, columns)
    append(run_id, "run.started", %{command: command}, [])

    port =
      Port.open({:spawn_executable, "/bin/sh"}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        line: 1000,
        args: ["-c", command]
      ])

    status = read(run_id, port)
    now = DateTime.utc_now()

    row = %{
      status: if(status == 0, do: "succeeded", else: "failed"),
      terminal_at: now,
      terminal_reason: "exit status #{status}"
    }

    append(run_id, "run.finished", %{status: status}, row: row)
  end

  defp read(run_id, port) do
    receive do
      {^port, {:data, {_, line}}} ->
        append(run_id, "run.delta", %{line: line}, [])
        read(run_id, port)

      {^port, {:exit_status, status}} ->
        status
    end
  end

  defp append(run_id, type, payload, opts) do
    {:ok, _seq} = @log.append_event(run_id, type, payload, opts)
    :ok = Projector.project_run_async(run_id)
  end

  def worker_life do
    columns = %{
      status: "starting",
      adapter: "local",
      workspace_ref: "/work",
      metadata: %{"model" => "demo", "limits" => %{"cpu" => 1.5}},
      owner_user_id: 42,
      started_at: DateTime.utc_now()
    }

    :ok = @log.create_worker(@worker, columns)
    event("worker.started", %{status: "running"})

    for i <- 1..40 do
      event("worker.request.received", %{last_heartbeat_at: DateTime.utc_now()})
      Process.sleep(40)
      event(if(rem(i, 13) == 0, do: "worker.error", else: "worker.response"), %{})
    end

    event("worker.stopped", %{status: "stopped", stopped_at: DateTime.utc_now()})
  end

  defp event(type, row), do: event(@worker, type, row)

  defp event(worker, type, row) do
    {:ok, _seq} = @log.append_worker_event(worker, type, %{}, row: row)
    :ok = Projector.project_codex_worker_async(worker)
  end

  # ---- for the live page (SERVE=1): runs of two users that come and go, workers that go on

  @threads [
    "fix the flaky login test",
    "review pull request 418",
    "upgrade the dependencies",
    "write the release notes",
    "why did the import crash?",
    "translate the help pages",
    "summarize last week's issues",
    "profile the slow query"
  ]
  @at_once 6

  def live do
    for name <- ["atlas", "birch", "cedar"], do: spawn_link(fn -> live_worker(name) end)
    live(1, 0)
  end

  defp live(n, running) when running < @at_once do
    parent = self()
    owner = if rem(n, 4) == 0, do: 43, else: 42

    spawn_link(fn ->
      run({"live_#{n}", Enum.at(@threads, rem(n, length(@threads))), steps(n)}, owner)
      send(parent, :run_over)
    end)

    Process.sleep(700)
    live(n + 1, running + 1)
  end

  defp live(n, running) do
    receive do
      :run_over -> live(n, running - 1)
    end
  end

  # Some are quick and some are slow; one in five fails.
  defp steps(n) do
    pause = Enum.random(["0.02", "0.06", "0.15", "0.3"])
    count = Enum.random(30..120)
    status = if rem(n, 5) == 0, do: 1, else: 0
    "for i in $(seq 1 #{count}); do echo step $i; sleep #{pause}; done; exit #{status}"
  end

  defp live_worker(name) do
    columns = %{
      status: "running",
      adapter: "local",
      workspace_ref: "/work/#{name}",
      metadata: %{},
      owner_user_id: 42,
      started_at: DateTime.utc_now()
    }

    :ok = @log.create_worker(name, columns)
    event(name, "worker.started", %{})
    live_worker_goes_on(name)
  end

  defp live_worker_goes_on(name) do
    event(name, "worker.request.received", %{last_heartbeat_at: DateTime.utc_now()})
    Process.sleep(Enum.random(100..900))
    event(name, Enum.random(["worker.response", "worker.response", "worker.error"]), %{})
    Process.sleep(Enum.random(100..900))
    live_worker_goes_on(name)
  end

  # ---- watching

  def entities,
    do: Enum.map(commands(), &{:run_summary, elem(&1, 0)}) ++ [{:codex_worker_summary, @worker}]

  def events({kind, id}), do: @log.events_after(kind, id, 0, 1_000_000)
  def appended, do: entities() |> Enum.map(&length(events(&1))) |> Enum.sum()

  def progress(started, note \\ "") do
    case Sidecar.status(timeout: 200) do
      {:ok, %{state: state, metrics: m}} ->
        "sidecar #{state}: kept #{m.kept_total}, coalesced #{m.coalesced_total}, pending #{m.pending}, delivered #{m.delivered_total}"

      {:error, reason} ->
        "sidecar away (#{inspect(reason)})"
    end
    |> then(
      &IO.puts(
        "  #{pad(since(started), 6)} ms  #{pad(appended(), 5)} events appended | #{&1}#{note}"
      )
    )
  end

  def since(started), do: System.monotonic_time(:millisecond) - started
  def pad(value, width), do: String.pad_leading(to_string(value), width)

  def wait(fun, until_ms, what) do
    cond do
      fun.() -> :ok
      until_ms <= 0 -> fail("waited in vain for #{what}")
      true -> Process.sleep(20) && wait(fun, until_ms - 20, what)
    end
  end

  def fail(why), do: IO.puts(:stderr, "demo: #{why}") || System.halt(1)
end

dir = System.fetch_env!("DEMO_DIR")
http? = System.fetch_env!("DEMO_SINK") == "http"
Application.put_env(:openagents_runtime, :convex_event_log, Demo.log())
Logger.configure(level: :warning)

sink =
  if http? do
    Application.put_env(:openagents_runtime, :convex_projection_sink, HttpSink)

    Application.put_env(:openagents_runtime, :convex_http_sink,
      base_url: System.fetch_env!("CONVEX_URL"),
      admin_key: System.fetch_env!("CONVEX_ADMIN_KEY")
    )

    []
  else
    [sink: [type: :file, file: Path.join(dir, "documents.jsonl")]]
  end

# With SERVE=1 the live page reads the sidecar's /status.
serve? = System.get_env("DEMO_OBSERVE", "") != ""
observe = if serve?, do: [observe: [port: System.fetch_env!("DEMO_OBSERVE")]], else: []

children = [
  {Demo.log(), dir: Path.join(dir, "log")},
  {Sidecar, store_dir: Path.join(dir, "store"), config: sink ++ observe}
]

{:ok, supervisor} = Supervisor.start_link(children, strategy: :one_for_one)
started = System.monotonic_time(:millisecond)
:ok = :convex_sidecar.await(:convex_sidecar, 10_000)

IO.puts(
  "#{length(Demo.commands())} runs and a codex worker, projected #{if http?, do: "into Convex at #{System.get_env("CONVEX_URL")}", else: "into #{dir}/documents.jsonl"}"
)

tasks =
  Enum.map(Demo.commands(), &Task.async(fn -> Demo.run(&1) end)) ++
    [Task.async(&Demo.worker_life/0)]

# ---- in the middle: kill -9
Demo.wait(fn -> Demo.appended() > 400 end, 30_000, "events")
Demo.progress(started)
{:ok, before} = Sidecar.status()
{_, 0} = System.cmd("kill", ["-9", "#{before.pid}"])
Demo.progress(started, "   <- killed -9 process #{before.pid}")

for _ <-
      Stream.cycle([0]) |> Stream.take_while(fn _ -> Enum.any?(tasks, &Process.alive?(&1.pid)) end) do
  Process.sleep(500)
  Demo.progress(started)
end

Task.await_many(tasks, 60_000)

# ---- everything is appended: wait until it is delivered
:ok = :convex_sidecar.settle(:convex_sidecar, 20_000)
{:ok, %{pending: 0}} = :convex_sidecar.flush(:convex_sidecar, 20_000)
Demo.progress(started)
{:ok, status} = Sidecar.status()
status.pid != before.pid || Demo.fail("the sidecar was not replaced")

# ---- write out what the log says, for the check
history =
  for {kind, id} = entity <- Demo.entities() do
    {:ok, row} = Demo.log().row(kind, id)
    events = for e <- Demo.events(entity), do: Map.take(e, [:seq, :event_type, :inserted_at])
    CanonicalJson.encode(%{kind: kind, id: id, row: row, events: events})
  end

File.write!(Path.join(dir, "history.jsonl"), Enum.intersperse(history, "\n"))

File.write!(
  Path.join(dir, "summary.json"),
  CanonicalJson.encode(%{
    runs: length(Demo.commands()),
    events: Demo.appended(),
    took_ms: Demo.since(started)
  })
)

# ---- once demo/run has read everything back, the live page continues until it is interrupted
if serve? do
  File.write!(Path.join(dir, "settled"), "")
  Demo.wait(fn -> File.exists?(Path.join(dir, "checked")) end, 60_000, "the check")
  Demo.live()
end

# ---- with Node, Convex's own client reads the documents back (test/convex/readback.mjs)
unless http? do
  lines = dir |> Path.join("documents.jsonl") |> File.stream!() |> Enum.map(&String.trim_trailing/1)

  wrong =
    for {kind, id} = entity <- Demo.entities() do
      {:ok, row} = Demo.log().row(kind, id)
      events = Demo.events(entity)
      document_id = Summary.document_id(kind, id)

      last =
        lines
        |> Enum.filter(&String.contains?(&1, ~s("document_id":"#{document_id}")))
        |> List.last("")

      at =
        Regex.run(~r/"projected_at":"([^"]*)"/, last, capture: :all_but_first)
        |> List.wrap()
        |> List.first()

      expected =
        Summary.summary(kind, row, %{count: length(events), latest: List.last(events)},
          projection_version: "convex_summary_v1"
        )

      expected =
        Map.merge(expected, %{
          "projected_at" => at,
          "projection_hash" => CanonicalJson.hash(expected)
        })

      if String.ends_with?(last, ~s("summary":) <> CanonicalJson.encode(expected) <> "}"),
        do: [],
        else: [document_id]
    end
    |> List.flatten()

  for id <- wrong, do: IO.puts("  differs: #{id}")
  events = Demo.appended()
  documents = length(Demo.entities())

  IO.puts("""

    runs                          #{Demo.pad(length(Demo.commands()), 6)}
    events                        #{Demo.pad(events, 6)}
    documents                     #{Demo.pad(documents, 6)}
    writes sent                   #{Demo.pad(length(lines), 6)}
    writes saved by coalescing    #{Demo.pad(events - length(lines), 6)}
    differing from the log        #{Demo.pad(length(wrong), 6)}
    lost                          #{Demo.pad(length(wrong), 6)}
  """)

  wrong == [] || System.halt(1)
end

:ok = Supervisor.stop(supervisor)
