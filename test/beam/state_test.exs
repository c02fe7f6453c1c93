defmodule ConvexSidecar.StateTest do
  # Each change of state is one line of the log and one telemetry event, and health/1 knows it without asking.
  use SidecarCase, async: false

  alias OpenAgentsRuntime.Convex
  alias OpenAgentsRuntime.Convex.{DiskEventLog, Sidecar, Telemetry}

  @changes ~w(node.up node.down node.unreachable sidecar.exited sidecar.ended sidecar.restarting) ++
             ~w(delivery.running delivery.waiting delivery.stopped delivery.paused delivery.kind) ++
             ~w(delivery.mending delivery.mended store.failing store.well)

  # The changes since the last call: what the log and telemetry say, which must agree in number.
  defp changes(count) do
    lines =
      for _ <- 1..count do
        assert_receive {:log, level, %{event: event}, text} when event in @changes and level != :debug, 10_000
        {event, level, text}
      end

    events =
      for _ <- 1..count do
        assert_receive {:telemetry, :state, %{count: 1, duration_ms: ms}, metadata} when ms >= 0, 10_000
        metadata
      end

    refute_receive {:telemetry, :state, _, _}, 50
    assert said(&(&1 in @changes)) == []
    {lines, events}
  end

  # What was logged meanwhile.
  defp said(is_meant) do
    receive do
      {:log, level, %{event: event}, text} ->
        if level != :debug and is_meant.(event), do: [{event, text} | said(is_meant)], else: said(is_meant)
    after
      0 -> []
    end
  end

  defp fake do
    watch_log()
    watch_telemetry()
    {name, fake} = start_fake(changed: Telemetry)
    assert {[{"node.up", :info, _}], [%{scope: "sidecar", state: "up", was: "starting"}]} = changes(1)
    {name, fake}
  end

  test "the endpoint, kinds, mending and the store: one line and one event each, with why and next" do
    {name, fake} = fake()
    FakeSidecar.change(fake, %{})
    assert :convex_sidecar.health(name) == :ok

    FakeSidecar.change(fake, %{state: "waiting", why: "HTTP 503", next: "nothing"})
    assert {[{"delivery.waiting", :warning, line}], [event]} = changes(1)
    assert line =~ ~s(was=running why="HTTP 503" next="nothing")
    assert %{instance: ^name, scope: "endpoint", kind: nil, state: "waiting", was: "running", why: "HTTP 503", next: "nothing"} = event
    assert :convex_sidecar.health(name) == :ok

    # Another reason for the same state is no change, but is known.
    FakeSidecar.change(fake, %{state: "waiting", why: "HTTP 502", next: "nothing"})
    wait_until(fn -> match?(%{endpoint: %{why: "HTTP 502"}}, :convex_sidecar.state(name)) end)

    FakeSidecar.change(fake, %{state: "stopped", why: "the key is refused", next: "mend the key"})
    assert {[{"delivery.stopped", :error, _}], [%{state: "stopped", was: "waiting"}]} = changes(1)
    assert :convex_sidecar.health(name) == {:error, {:stopped, "the key is refused; next: mend the key"}}

    kind = %{kind: "run_summary", state: "stopped", why: "not deployed", next: "deploy it", since: "", next_at: ""}
    FakeSidecar.change(fake, %{kinds: [kind], store_ok: false, next: "make room", mending: %{why: "wiped", since: ""}})
    assert {lines, events} = changes(4)

    assert lines |> Enum.map(&elem(&1, 0)) |> Enum.sort() ==
             ~w(delivery.kind delivery.mending delivery.running store.failing)

    assert %{state: "stopped", why: "not deployed", next: "deploy it"} = Enum.find(events, &(&1.kind == "run_summary"))
    assert %{state: "mending", why: "wiped"} = Enum.find(events, &(&1.scope == "mending"))
    assert {:error, {:store_failing, "the store fails" <> _}} = :convex_sidecar.health(name)

    FakeSidecar.change(fake, %{})
    assert {_, events} = changes(3)

    assert Enum.sort(for e <- events, do: {e.scope, e.was, e.state}) ==
             [{"kind", "stopped", "running"}, {"mending", "mending", "running"}, {"store", "stopped", "running"}]

    assert :convex_sidecar.health(name) == :ok
  end

  test "health asks nobody, and costs microseconds" do
    {name, fake} = fake()
    FakeSidecar.change(fake, %{})
    configure(:convex_event_log, DiskEventLog)
    configure(:convex_sidecar, name: name)
    assert Convex.health() == :ok
    :sys.suspend(fake)
    for pid <- [:convex_sidecar_instance.state_name(name), :convex_sidecar_instance.watch_name(name)], do: :sys.suspend(pid)
    {us, :ok} = :timer.tc(fn -> Enum.each(1..1000, fn _ -> :ok = Convex.health() end) end)
    # On a busy machine; a call to a process that stands still would not come back.
    assert us / 1000 < 200
  end

  test "a sidecar that does not know {changes, _} is not asked again, and all else goes on" do
    watch_log()
    name = start_instance(name: unique_name(), mode: :external, node: node(), registered_name: unique_name("nobody"))
    assert :convex_sidecar.await(name, 5000) == :ok
    assert_receive {:log, :info, %{event: "node.up", instance: ^name}, _}
    assert :convex_sidecar.health(name) == :ok
    assert %{sidecar: %{state: :up}, endpoint: %{state: :running}} = :convex_sidecar.state(name)
    assert :convex_sidecar.state(unique_name()) == %{}
  end

  test "a module that fails in changed/2 is told of, and ends nothing" do
    watch_log()
    {name, _fake} = start_fake(changed: :no_such_module)
    assert_receive {:log, :error, %{event: "state.not_told"}, text}
    assert text =~ "no_such_module"
    assert :convex_sidecar.health(name) == :ok
  end

  describe "the real program" do
    setup do
      watch_log()
      watch_telemetry()
      name = unique_name("state_#{System.pid()}")
      {:ok, name: name, store: Path.join(tmp_dir(), "store")}
    end

    test "killed, restarted, told to end: one line and one event for down, and for up, with why", %{name: name, store: store} do
      start_supervised!({Sidecar, name: name, store_dir: store, catch_up: false})
      on_exit(fn -> :convex_sidecar_instance.close(name) end)
      assert :convex_sidecar.await(name, 10_000) == :ok
      assert {[{"node.up", :info, _}], [%{state: "up", was: "starting"}]} = changes(1)

      for {signal, event, why} <- [{"KILL", "sidecar.exited", "signal=9"}, {"TERM", "sidecar.ended", "told to end"}] do
        System.cmd("kill", ["-#{signal}", "#{:convex_sidecar_port.os_pid(name)}"])
        assert {[{^event, _, down}, {"node.up", :info, _}], [told, %{state: "up", was: "down"}]} = changes(2)
        assert down =~ why and down =~ "; next: "
        assert %{scope: "sidecar", state: "down", was: "up"} = told
        assert told.why =~ why and told.next =~ "started again"
      end

      assert {:ok, _} = Sidecar.restart(sidecar: name)
      assert {lines, [%{state: "down", why: "restart/1 was called"}, %{state: "up"}]} = changes(2)
      assert [{"sidecar.restarting", :info, _}, {"node.up", :info, _}] = lines
    end

    defp row(id), do: %{run_id: id, thread_id: "t", status: "running", owner_guest_scope: "g"}
    defp project(name, id), do: {:ok, %{write: "queued"}} = :convex_sidecar.project(name, :run_summary, id, row(id), [])

    test "a wrong key, Convex away and made anew: each is heard", %{name: name, store: store} do
      standin = Standin.start()
      dir = tmp_dir()
      file = Path.join(dir, "key")
      File.write!(file, "wrong|key\n")
      File.chmod!(file, 0o600)
      sink = [type: :http, base_url: standin.url, admin_key_file: file]
      config = [sink: sink, delivery: [backoff_min_ms: 50, backoff_max_ms: 200]]
      start_supervised!({Sidecar, name: name, store_dir: store, config: config, catch_up: false})
      on_exit(fn -> :convex_sidecar_instance.close(name) end)
      assert :convex_sidecar.await(name, 10_000) == :ok
      project(name, "r")
      assert {[_up, {"delivery.stopped", :error, line}], [_, %{scope: "endpoint", state: "stopped"} = told]} = changes(2)
      assert told.why =~ "key" and told.next != "" and line =~ told.why and line =~ told.next
      assert {:error, {:stopped, text}} = Sidecar.health(sidecar: name)
      assert text == told.why <> "; next: " <> told.next

      File.write!(file, standin.admin_key <> "\n")
      {:ok, :reloaded} = :convex_sidecar.reload(name)
      assert {[{"delivery.running", :info, _}], [%{state: "running", was: "stopped"}]} = changes(1)
      assert Sidecar.health(sidecar: name) == :ok

      Standin.stop(standin)
      project(name, "s")
      assert {[{"delivery.waiting", :warning, _}], [%{state: "waiting", why: why}]} = changes(1)
      assert why != ""
      assert Sidecar.health(sidecar: name) == :ok
      Standin.start_again(standin)
      # It is empty: what was confirmed there is sent again.
      assert {lines, _} = changes(2)
      assert Enum.sort(for {event, _, _} <- lines, do: event) == ~w(delivery.mending delivery.running)
    end

    test "paused and resumed; Convex that is not there", %{name: name, store: store} do
      config = [sink: [type: :http, base_url: "http://127.0.0.1:1", admin_key: "deployment|01"]]
      start_supervised!({Sidecar, name: name, store_dir: store, config: config, catch_up: false})
      on_exit(fn -> :convex_sidecar_instance.close(name) end)
      assert :convex_sidecar.await(name, 10_000) == :ok
      project(name, "r")
      assert {[{"node.up", _, _}, {"delivery.waiting", :warning, line}], [_up, waiting]} = changes(2)
      assert line =~ "next="
      assert %{scope: "endpoint", state: "waiting", was: "running"} = waiting
      assert waiting.why != ""
      {:ok, :paused} = :convex_sidecar.pause(name)
      assert {[{"delivery.paused", :info, _}], [%{state: "paused", next: next}]} = changes(1)
      assert next =~ "resume"
      # The program's own line of it is not said twice.
      assert said(&String.starts_with?(&1, "dispatch.")) == []
    end
  end
end
