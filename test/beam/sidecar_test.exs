defmodule OpenAgentsRuntime.Convex.SidecarTest do
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex.{DiskEventLog, FanoutSink, HttpSink, NoopSink, Projector, Sidecar}

  defmodule Changing do
    @moduledoc "The test's MemoryLog, in which everything has changed lately."
    @behaviour OpenAgentsRuntime.Convex.EventLog
    @impl true
    defdelegate row(kind, id), to: MemoryLog
    @impl true
    defdelegate events_after(kind, id, seq, limit), to: MemoryLog
    @impl true
    defdelegate ids(kind, after_id, limit), to: MemoryLog
    @impl true
    def changed_since(kind, _since, limit), do: MemoryLog.ids(kind, nil, limit)
  end

  @http [
    base_url: "http://127.0.0.1:3210",
    admin_key: "deployment|0123",
    request_timeout_ms: 2500
  ]

  defp config(opts \\ []), do: Sidecar.options(opts).config.()

  test "no sink, and NoopSink, are noop" do
    configure(:convex_http_sink, @http)
    assert config() == %{"sink" => %{"type" => :noop}}
    configure(:convex_projection_sink, NoopSink)
    assert config() == %{"sink" => %{"type" => :noop}}
  end

  test "HttpSink, with the keys users have" do
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, @http)
    configure(:convex_projection_version, "v7")

    assert config() == %{
             "sink" => %{
               "type" => :http,
               "base_url" => "http://127.0.0.1:3210",
               "admin_key" => "deployment|0123",
               "request_timeout_ms" => 2500
             },
             "projection" => %{"version" => "v7"}
           }
  end

  test "mutation paths of the user's own are called one by one" do
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, @http ++ [run_summary_mutation_path: "my:runs"])
    config = config()
    assert config["sink"]["batch_mutation"] == ""
    assert config["kind.run_summary"] == %{"mutation" => "my:runs"}
  end

  # As the runtime's config.exs has them: written out, and with the values they have anyway.
  @default_paths [
    run_summary_mutation_path: "runtime:upsertRunSummary",
    codex_worker_summary_mutation_path: "runtime:upsertCodexWorkerSummary"
  ]

  test "mutation paths that are the defaults keep batching" do
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, @http)
    without = config()
    configure(:convex_http_sink, @http ++ @default_paths)
    assert config() == without
    refute Map.has_key?(config()["sink"], "batch_mutation")
  end

  test "one of the two that is not the default turns batching off, unless a batch mutation is named" do
    configure(:convex_projection_sink, HttpSink)
    path = "my:workers"

    configure(
      :convex_http_sink,
      @http ++ Keyword.put(@default_paths, :codex_worker_summary_mutation_path, path)
    )

    assert config()["sink"]["batch_mutation"] == ""
    assert config()["kind.codex_worker_summary"] == %{"mutation" => path}
    refute Map.has_key?(config(), "kind.run_summary")
    given = [sink: [batch_mutation: "my:batch"]]
    assert config(config: given)["sink"]["batch_mutation"] == "my:batch"
  end

  test "a sink of the user's own may call HttpSink" do
    configure(:convex_projection_sink, FanoutSink)
    assert config()["sink"] == %{"type" => :noop}
    configure(:convex_http_sink, @http)
    assert config()["sink"]["type"] == :http
  end

  test "the sidecar's own options win, section by section and key by key" do
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, @http)
    configure(:convex_sidecar, config: [sink: [base_url: "http://other"], log: %{level: :debug}])
    config = config()
    assert %{"base_url" => "http://other", "admin_key" => "deployment|0123"} = config["sink"]
    assert config["log"] == %{"level" => :debug}
    assert config(config: fn -> %{"sink" => %{"base_url" => "x"}} end)["sink"]["base_url"] == "x"
  end

  test "HttpSink without base_url does not start, and says why" do
    configure(:convex_projection_sink, HttpSink)

    assert {:error, {:bad_option, :convex_http_sink, "convex_http_sink must name base_url" <> _}} =
             Sidecar.start_link(name: unique_name(), node: node())
  end

  test "a deployment named in the sidecar's own options is the sink; a key alone leads nowhere" do
    sink = fn keys -> [name: unique_name(), node: node(), config: %{"sink" => keys}] end
    refute Map.has_key?(config(sink.(base_url: "x"))["sink"], "type")
    assert config(sink.(base_url: "x", type: :noop))["sink"]["type"] == :noop

    for key <- [:admin_key, :admin_key_file] do
      assert {:error, {:bad_option, :config, why}} = Sidecar.start_link(sink.([{key, "x"}]))
      assert why =~ "[sink] base_url is missing" and why =~ "#{key}" and why =~ "type: :noop"
      assert config(sink.([{key, "x"}, {:type, :http}]))["sink"]["type"] == :http
    end
  end

  test "no secret in what supervisors print" do
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, @http)
    refute inspect(Sidecar.child_spec([]), limit: :infinity) =~ "0123"
    refute inspect(Sidecar.options(), limit: :infinity) =~ "0123"
  end

  test "in a supervision tree: the program is given its configuration, and restarted" do
    dir = tmp_dir()
    name = unique_name()
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, @http)
    own = [name: name, node: node(), program: fake_program()]
    configure(:convex_sidecar, own ++ [config: [fake: [mode: :ok, fake_dir: dir]]])
    start_supervised!(Sidecar)
    assert :convex_sidecar.await(name, 5000) == :ok
    [path] = Path.wildcard(Path.join(dir, "config.*"))
    assert File.read!(path) =~ "admin_key = deployment|0123\n"
    assert Sidecar.configured?([])
    assert {:ok, %{gap_ms: _}} = Sidecar.restart()
    # Nobody answers under that name in this VM.
    assert Sidecar.status() == {:error, :unavailable}
  end

  test "health/0 of the library: the event log, then the sidecar, without asking it" do
    alias OpenAgentsRuntime.Convex
    assert {:error, {:no_event_log, "no event log: set `config" <> _}} = Convex.health()
    configure(:convex_event_log, MemoryLog)
    configure(:convex_sidecar, name: unique_name())
    assert {:error, {:not_started, _}} = Convex.health()
    {name, _fake} = start_fake()
    configure(:convex_sidecar, name: name)
    assert Convex.health() == :ok
    configure(:convex_sidecar, testing: :inline)
    configure(:convex_event_log, nil)
    assert Convex.health() == :ok
  end

  test "without an event log it starts, and one line says so" do
    said =
      ExUnit.CaptureLog.capture_log(fn ->
        name = unique_name()
        on_exit(fn -> :convex_sidecar_instance.close(name) end)
        start_supervised!({Sidecar, name: name, mode: :external, node: :"nobody@127.0.0.1"})
      end)

    assert [_, _] = String.split(said, "no event log: set")
  end

  test "catch_up projects what was appended while nobody was there" do
    start_supervised!({DiskEventLog, dir: tmp_dir()})
    configure(:convex_event_log, DiskEventLog)
    DiskEventLog.create_run("r")
    DiskEventLog.append_event("r", "run.started")
    DiskEventLog.create_worker("w.1")
    fake = unique_name("fake")
    start_supervised!({FakeSidecar, fake})
    name = unique_name()
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    own = [name: name, mode: :external, node: node(), registered_name: fake, catch_up: true]
    configure(:convex_sidecar, own)
    start_supervised!(Sidecar)
    wait_until(fn -> map_size(FakeSidecar.documents(fake)) == 2 end)

    assert {:ok, 2} = DiskEventLog.append_event("r", "run.finished")
    assert :ok = Projector.project_run_async("r")
    assert :ok = :convex_sidecar.settle(name, 5000)
    assert %{"runtime/run_summary:r" => %{folded: 2, count: 2}} = FakeSidecar.documents(fake)
    assert Sidecar.status() == {:ok, %{state: "running"}}
  end

  test "what changes later than any look is found by what has changed since, after a catch_up as well" do
    log = MemoryLog.new()
    MemoryLog.add(log, "r", 1)
    configure(:convex_event_log, Changing)
    fake = unique_name("fake")
    start_supervised!({FakeSidecar, fake})
    name = unique_name()
    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    own = [name: name, mode: :external, node: node(), registered_name: fake, look_back_ms: 1000]
    configure(:convex_sidecar, own)
    start_supervised!(Sidecar)
    wait_until(fn -> map_size(FakeSidecar.documents(fake)) == 1 end)
    MemoryLog.update(log, "r", %{status: "succeeded"})
    wait_until(fn -> FakeSidecar.documents(fake)["runtime/run_summary:r"].row.status == "succeeded" end)
  end
end
