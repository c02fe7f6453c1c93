defmodule OpenAgentsRuntime.Convex.KindsTest do
  use SidecarCase, async: false

  import ExUnit.CaptureLog

  alias OpenAgentsRuntime.Convex.{FanoutSink, HttpSink, Kinds, Projector, Sidecar, Sidecars, Sink, SinkQueue, Summary}

  @invoice [prefix: "billing/invoice:", entity: "invoice", id_field: "invoice_id", mutation: "m:f", fields: "status amount"]

  defmodule AnySink do
    use OpenAgentsRuntime.Convex.Sink

    @impl true
    def upsert(kind, document_id, summary, opts) do
      send(opts[:test], {:any, kind, document_id, summary})
      :ok
    end
  end

  defmodule OldSink do
    @behaviour OpenAgentsRuntime.Convex.Sink

    @impl true
    def upsert_run_summary(document_id, _summary, opts), do: told(:run, document_id, opts)

    @impl true
    def upsert_codex_worker_summary(document_id, _summary, opts), do: told(:worker, document_id, opts)

    defp told(which, document_id, opts) do
      send(opts[:test], {:old, which, document_id})
      :ok
    end
  end

  test "without configuration there are the runtime's own" do
    assert [:run_summary, :codex_worker_summary | _] = Kinds.all()
    assert Kinds.sections() == []
    assert Kinds.find("run_summary") == Kinds.fetch!(:run_summary)
    assert Kinds.find(:invoice_summary) == nil and Kinds.find("invoice_summary") == nil
    assert_raise ArgumentError, ~r/no kind :invoice_summary, only :run_summary, .*convex_kinds/, fn -> Kinds.fetch!(:invoice_summary) end
  end

  test "a configured kind is a section of the program's configuration, as a list or a map" do
    section = Map.new(@invoice, fn {key, value} -> {"#{key}", value} end)
    built_in = Kinds.all()

    for given <- [[invoice_summary: @invoice], %{"invoice_summary" => Map.new(@invoice)}] do
      configure(:convex_kinds, given)
      assert Kinds.all() == built_in ++ [:invoice_summary]
      assert Sidecar.options([]).config.()["kind.invoice_summary"] == section
    end

    configure(:convex_kinds, codex_worker_summary: [min_interval_ms: 1000])
    assert Sidecar.options([]).config.()["kind.codex_worker_summary"] == %{"min_interval_ms" => "1000"}
    assert Kinds.all() == built_in
    configure(:convex_kinds, invoice_summary: @invoice)

    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, base_url: "http://x", invoice_summary_mutation_path: "own:invoices")
    config = Sidecar.options([]).config.()
    assert config["kind.invoice_summary"] == %{section | "mutation" => "own:invoices"}
    assert config["sink"]["batch_mutation"] == ""
  end

  test "a bad entry keeps the sidecar from starting, and says why" do
    for {given, why} <- [
          {:nonsense, "must be a list of NAME"},
          {[{1, []}], "must be a list of NAME"},
          {[invoice: [:prefix]], "invoice must be a list of prefix, entity"},
          {["in-voice": @invoice], "in-voice: a name is"},
          {[_control: @invoice], "_control: names that begin with _"},
          {[invoice: Keyword.delete(@invoice, :prefix)], "invoice: has no prefix"},
          {[invoice: @invoice ++ [prefx: "x:"]], "invoice: prefx is no key of a kind"},
          {[invoice: [min_interval_ms: 60_001] ++ @invoice], "invoice: min_interval_ms must be a number from 0 to 60000, is 60001"},
          {[run_summary: [min_interval_ms: "1s"]], ~s(run_summary: min_interval_ms must be a number from 0 to 60000, is "1s")},
          {[invoice: Keyword.put(@invoice, :fields, ~w(a b))], "invoice: fields must be text"},
          {[invoice: Keyword.put(@invoice, :fields, "a b:int")], ~s(fields: "b:int" is neither)},
          {[run_summary: [fields: "a 1b"]], ~s(run_summary: fields: "1b" is no name)}
        ],
        mode <- [[], [mode: :external]] do
      configure(:convex_kinds, given)
      assert {:error, {:bad_option, :convex_kinds, text}} = Sidecar.start_link([name: unique_name(), node: node()] ++ mode)
      assert text =~ why
    end
  end

  test "a kind that is given to the program alone is warned about" do
    invoice = [config: ["kind.invoice_summary": @invoice, "kind.run_summary": [mutation: "my:runs"]]]
    options = [name: unique_name(), node: node(), program: fake_program()] ++ invoice
    log = capture_log(fn -> start_supervised!({Sidecar, options}) end)
    on_exit(fn -> :convex_sidecar_instance.close(options[:name]) end)
    assert log =~ "[kind.invoice_summary] reaches the program alone" and log =~ "convex_kinds"
    refute log =~ "kind.run_summary"
  end

  test "members are chosen, and entities moved, by the ids of a configured kind" do
    log = MemoryLog.new()
    configure(:convex_event_log, MemoryLog)
    configure(:convex_kinds, invoice_summary: @invoice)
    on_exit(&Sidecars.forget/0)
    [{a, _}, {b, _}] = pairs = [start_fake(), start_fake()]
    {:ok, %{moved: 0}} = Sidecars.put([a])
    for i <- 1..40, do: MemoryLog.add(log, "i#{i}", 1, %{invoice_id: "i#{i}"}, :invoice_summary)
    moving = Enum.count(1..40, &(Sidecars.owner([a, b], Summary.document_id(:invoice_summary, "i#{&1}")) == b))
    assert Sidecars.put([a, b]) == {:ok, %{moved: moving}}
    for {name, _} <- pairs, do: :ok = :convex_sidecar.settle(name, 10_000)
    assert map_size(FakeSidecar.documents(elem(Enum.at(pairs, 1), 1))) == moving
    assert moving in 5..35
  end

  describe "a sink of one's own" do
    setup do
      configure(:convex_event_log, MemoryLog)
      configure(:convex_kinds, invoice_summary: @invoice)
      log = MemoryLog.new()
      MemoryLog.add(log, "r", 1)
      MemoryLog.add(log, "w", 1, %{worker_id: "w"}, :codex_worker_summary)
      MemoryLog.add(log, "i", 2, %{invoice_id: "i", status: "open", amount: 3}, :invoice_summary)
      :ok
    end

    test "with upsert/4 is given every kind, and can be called by the old names" do
      opts = [sink: AnySink, sink_opts: [test: self()]]
      assert {:ok, %{write: "applied", seq: 2}} = Projector.project(:invoice_summary, "i", opts)
      assert_received {:any, :invoice_summary, "billing/invoice:i", %{"amount" => 3, "invoice_id" => "i", "event_count" => 2}}
      assert {:ok, _} = Projector.project_run("r", opts)
      assert_received {:any, :run_summary, "runtime/run_summary:r", _}
      assert AnySink.upsert_codex_worker_summary("d", %{}, test: self()) == :ok
      assert_received {:any, :codex_worker_summary, "d", %{}}

      :ok = Projector.project_async(:invoice_summary, "i", [force: true] ++ opts)
      assert_receive {:any, :invoice_summary, "billing/invoice:i", _}, 5000
      wait_until(fn -> SinkQueue.backlog().working == 0 end)
    end

    test "with the two old callbacks goes on, also among others; another kind is refused in words" do
      opts = [sink: OldSink, sink_opts: [test: self()]]
      assert {:ok, _} = Projector.project_run("r", opts)
      assert_received {:old, :run, "runtime/run_summary:r"}
      assert {:ok, _} = Projector.project_codex_worker("w", opts)
      assert_received {:old, :worker, "runtime/codex_worker_summary:w"}

      assert {:error, {:sink_write_failed, {:unsupported_kind, why}}} = Projector.project(:invoice_summary, "i", opts)
      assert why =~ "OldSink cannot write invoice_summary: give it upsert/4"

      fanned = [test: self(), sinks: [AnySink, OldSink]]
      assert FanoutSink.upsert_run_summary("d", %{}, fanned) == :ok
      assert_received {:any, :run_summary, "d", _}
      assert_received {:old, :run, "d"}
      assert {:error, {:sink_exception, _}} = Sink.write(NoSuchSink, :run_summary, "d", %{}, [])
    end
  end
end
