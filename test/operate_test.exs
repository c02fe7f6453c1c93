defmodule OpenAgentsRuntime.Convex.OperateTest do
  @moduledoc "The words that show where documents are: pending, explain, peers, tap."
  use SidecarCase, async: false

  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]

  setup do
    standin = Standin.start()
    store = Path.join(tmp_dir(), "store")
    name = unique_name()
    options = [name: name, node: :"o#{unique()}_#{System.pid()}@127.0.0.1", store_dir: store]
    start_instance(options ++ [config: [sink: Standin.sink(standin), delivery: [min_interval_ms: 0]]])
    :ok = :convex_sidecar.await(name, 10_000)
    %{standin: standin, name: name, store: store}
  end

  defp project(c, id, options \\ %{}) do
    request = {:project, :run_summary, id, %{status: "running", thread_id: "t#{unique()}", updated_at: @t}, [], options}
    {:ok, _} = :convex_sidecar.call(c.name, request, 10_000)
  end

  defp explain(c, id) do
    {:ok, said} = :convex_sidecar.call(c.name, {:explain, @run <> id}, 10_000)
    said
  end

  defp words(c, args) do
    program = Path.expand("../priv/convex_sidecar", __DIR__)
    System.cmd(program, args ++ ["--store", c.store], stderr_to_stdout: true)
  end

  test "explain: delivered, and what Convex holds", c do
    project(c, "a", %{ack: :written})

    assert %{state: "delivered", kind: "run_summary", pending: nil, delivery: nil, dead: nil} = said = explain(c, "a")
    assert said.document_id == @run <> "a"
    assert said.next == nil
    assert said.convex.holds == "the document"
    assert said.convex.differs == nil
    assert said.convex.actual_hash == said.delivered.projection_hash
    assert said.convex.projected_at == said.delivered.projected_at

    Standin.wipe(c.standin)
    assert %{convex: %{holds: "nothing", differs: "missing"}, next: "`audit --repair`" <> _} = explain(c, "a")
    {text, 0} = words(c, ["explain", @run <> "a"])
    assert text =~ ~r/^state +delivered$/m and text =~ ~r/^  differs +missing$/m
  end

  test "explain: what nobody knows, and what is no kind's", c do
    assert %{state: "unknown", convex: %{holds: "nothing", differs: nil}, next: "project it" <> _} = explain(c, "nobody")
    {text, 1} = words(c, ["clear", "some:thing"])
    assert text =~ ~r/not_projector_owned: .*; next: give the whole id/

    assert {:ok, %{kind: nil, convex: %{not_asked: why}}} = :convex_sidecar.call(c.name, {:explain, "some:thing"}, 10_000)

    assert why =~ "prefix"
  end

  defp pending(c, options) do
    {:ok, rows} = :convex_sidecar.call(c.name, {:pending, options}, 10_000)
    rows
  end

  test "pending: what waits, the oldest first, by kind, and what is in trouble with its reason", c do
    project(c, "fine", %{ack: :written})
    assert pending(c, %{}) == []
    assert {"none\n", 0} = words(c, ["pending"])

    Standin.faults(c.standin, ~s({"kind":"status","status":503,"times":0,"match":{"text":"ill_one"}}))
    project(c, "ill_one")
    wait_until(fn -> pending(c, %{troubled: true}) != [] end)
    {:ok, :paused} = :convex_sidecar.call(c.name, :pause, 5000)
    project(c, "waits")

    assert [ill, %{document_id: @run <> "waits", state: "waits", why: nil, attempts: 0, seq: 0, op: "upsert"}] = pending(c, %{})
    assert %{document_id: @run <> "ill_one", kind: "run_summary", state: state, why: why, attempts: n} = ill
    assert state in ["failing", "on trial", "lone"] and why =~ "503" and n >= 1
    assert [%{document_id: @run <> "ill_one"}] = pending(c, %{troubled: true})
    assert pending(c, %{kind: "codex_worker_summary"}) == []
    assert length(pending(c, %{kind: "run_summary"})) == 2
    assert {:error, {:invalid, "opts.troubled", _}} = :convex_sidecar.call(c.name, {:pending, %{troubled: 7}}, 5000)

    {text, 0} = words(c, ["pending", "--troubled"])
    assert [head, row] = String.split(text, "\n", trim: true)
    assert head =~ ~r/^document_id +kind +seq +attempts +kept_at +state +why$/
    assert row =~ ~r/^#{@run}ill_one +run_summary .*503/
    {json, 0} = words(c, ["pending", "--kind", "run_summary", "--json"])
    assert json =~ ~s("document_id":"#{@run}waits")
  end

  test "explain: pending, where it is, and when it is tried next", c do
    {:ok, :paused} = :convex_sidecar.call(c.name, :pause, 5000)
    project(c, "a")
    assert %{state: "pending", pending: pending, delivery: delivery} = explain(c, "a")
    assert %{op: "upsert", lane: "live", origin: "live", attempts: 0} = pending
    assert pending.kept_at > "2026"
    assert %{endpoint: "paused"} = delivery
    assert explain(c, "a").next =~ "`status` says why"
    {line, 0} = words(c, ["top", "--json"])
    assert line =~ ~r/\A\{[^\n]*"next":"resume sends what waits"[^\n]*\}\n\z/
    {:ok, :running} = :convex_sidecar.call(c.name, :resume, 5000)

    wait_until(fn -> explain(c, "a").state == "delivered" end)
    Standin.faults(c.standin, ~s({"kind":"refuse_item","match":{"document_id":"*bad*"},"times":0,"message":"of no use"}))
    project(c, "bad")
    refused = wait_until(fn -> (d = explain(c, "bad").delivery) && d.why && d end)
    assert refused.why =~ "of no use"
    assert refused.is in ["lone", "refused", "on trial"]
    wait_until(fn -> project(c, "a#{unique()}") && explain(c, "bad").state == "dead" end, 20_000)
    assert %{dead: %{why: why, attempts: attempts}, pending: nil, next: "mend what" <> _} = explain(c, "bad")
    assert why =~ "of no use" and attempts > 0
  end

  test "explain while an audit is at it", c do
    project(c, "a", %{ack: :written})
    Standin.faults(c.standin, ~s({"kind":"delay","path":"runtime:listDigests","ms":3000,"times":0}))
    audit = Task.async(fn -> :convex_sidecar.call(c.name, {:audit, :all, %{}}, 30_000) end)
    wait_until(fn -> match?({:ok, %{state: "running"}}, :convex_sidecar.call(c.name, {:audit, :status}, 5000)) end)
    assert %{not_asked: "an audit is at it" <> _} = explain(c, "a").convex
    {:ok, _} = :convex_sidecar.call(c.name, {:audit, :cancel}, 5000)
    Task.await(audit, 30_000)
  end

  test "peers names this VM", c do
    me = Atom.to_string(node())
    assert {:ok, [%{node: ^me, address: "127.0.0.1", since: "20" <> _, calls: n}]} = :convex_sidecar.call(c.name, :peers, 5000)
    assert n > 0
    {text, 0} = words(c, ["peers"])
    assert text =~ ~r/^node +address +since +calls$/m and text =~ me
  end

  test "tap: the life of a document, a line each; --id and --kind", c do
    program = Path.expand("../priv/convex_sidecar", __DIR__)
    args = ["tap", "--id", @run <> "a", "--kind", "run_summary", "--json", "--timeout", "60", "--store", c.store]
    port = Port.open({:spawn_executable, program}, [:binary, :exit_status, line: 2000, args: args])
    # Listening once something comes through.
    seen = fn ->
      project(c, "a") &&
        receive do
          {^port, {:data, {:eol, line}}} -> line
        after
          20 -> nil
        end
    end

    assert wait_until(seen) =~ ~s("document_id":"#{@run}a")
    project(c, "b")
    # What is on its way meets no fault.
    {:ok, _} = :convex_sidecar.call(c.name, {:flush, 10_000}, 15_000)
    Standin.faults(c.standin, ~s({"kind":"html502","times":2}))
    project(c, "a", %{ack: :written})
    lines = until(port, "confirmed", [])
    events = for line <- lines, [_, event] <- [Regex.run(~r/"event":"(\w+)"/, line)], do: event
    assert "kept" in events and "sent" in events and List.last(events) == "confirmed"
    refute Enum.any?(lines, &(&1 =~ @run <> "b"))
    {:os_pid, pid} = Port.info(port, :os_pid)
    System.cmd("kill", ["-INT", "#{pid}"])
    assert_receive {^port, {:exit_status, 0}}, 5000
  end

  # Lines up to the one of `event` that comes after an answer that was not understood.
  defp until(port, event, lines) do
    receive do
      {^port, {:data, {:eol, line}}} ->
        lines = [line | lines]
        done = line =~ ~s("event":"#{event}") and Enum.any?(lines, &(&1 =~ ~s("event":"unknown")))
        if done, do: Enum.reverse(lines), else: until(port, event, lines)
    after
      20_000 -> flunk("no #{event} after #{inspect(lines)}")
    end
  end

  test "tap: a BEAM is told where it is, the fifth is refused, who leaves makes room", c do
    assert {:error, {:invalid, _, why}} = :convex_sidecar.call(c.name, {:tap, %{}}, 5000)
    assert why =~ "control socket"
    program = Path.expand("../priv/convex_sidecar", __DIR__)
    tap = fn -> Port.open({:spawn_executable, program}, [:binary, :exit_status, :stderr_to_stdout, args: ["tap", "--store", c.store]]) end
    ports = for _ <- 1..4, do: tap.()

    for port <- ports,
        do:
          wait_until(fn ->
            project(c, "x#{unique()}") &&
              receive do
                {^port, {:data, _}} -> true
              after
                10 -> nil
              end
          end)

    assert {text, 1} = words(c, ["tap"])
    assert text =~ "busy"
    for port <- ports, {:os_pid, pid} = Port.info(port, :os_pid), do: System.cmd("kill", ["#{pid}"])
    for port <- ports, do: assert_receive({^port, {:exit_status, 0}}, 5000)
    wait_until(fn -> match?({_, 0}, words(c, ["tap", "--timeout", "1"])) end, 10_000)
  end
end
