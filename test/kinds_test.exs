defmodule KindsTest do
  @moduledoc """
  A read model of one's own is one entry of configuration: what comes with it, end to end, and that
  C, Elixir and the configuration mean the same by a kind.
  """
  use SidecarCase, async: false

  import ExUnit.CaptureIO

  alias OpenAgentsRuntime.Convex.{Audit, DiskEventLog, Export, HttpSink, Kinds, Projector}
  alias OpenAgentsRuntime.Convex.{Reprojection, Sidecar, Summary}

  @moduletag timeout: 120_000
  @prefix "billing/invoice:"
  @kinds [
    invoice_summary: [
      prefix: @prefix,
      entity: "invoice",
      id_field: "invoice_id",
      mutation: "runtime:upsertInvoiceSummary",
      fields: "status amount owner_user_id metadata:map"
    ]
  ]

  defp start(_context) do
    standin = Standin.start()
    dir = tmp_dir()
    name = unique_name()
    configure(:convex_kinds, @kinds)
    configure(:convex_event_log, DiskEventLog)
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, base_url: standin.url, admin_key: standin.admin_key)
    configure(:convex_sidecar, name: name)
    start_supervised!({DiskEventLog, dir: Path.join(dir, "log")})
    # Before the sidecar: it looks at every entity after its start.
    invoice("early", 2)

    start_supervised!(
      {Sidecar,
       node: :"k#{unique()}_#{System.pid()}@127.0.0.1", store_dir: Path.join(dir, "store"), config: [delivery: [min_interval_ms: 0]]}
    )

    on_exit(fn -> :convex_sidecar_instance.close(name) end)
    :ok = :convex_sidecar.await(name, 10_000)
    :ok = :convex_sidecar.settle(name, 10_000)
    %{standin: standin, name: name, dir: dir}
  end

  # An invoice with so many events; its row has a column that no document shows.
  defp invoice(id, events) do
    :ok = DiskEventLog.create(:invoice_summary, id, %{status: "open", amount: 12, owner_user_id: 7, secret: "s"})
    for _ <- 1..events//1, do: {:ok, _seq} = DiskEventLog.append(:invoice_summary, id, "invoice.changed")
  end

  # What stands in Convex, and what the event log says should: both without the time and the hash.
  defp documents(c) do
    assert {:ok, %{pending: 0}} = :convex_sidecar.flush(c.name, 20_000)
    Map.new(Standin.documents(c.standin, ["invoice_summary"]), fn {id, json} -> {id, timeless(json)} end)
  end

  defp wanted do
    for id <- DiskEventLog.ids(:invoice_summary, nil, 100), into: %{} do
      {:ok, row} = DiskEventLog.row(:invoice_summary, id)
      events = DiskEventLog.events_after(:invoice_summary, id, 0, 100)
      summary = Summary.summary(:invoice_summary, row, %{count: length(events), latest: List.last(events)}, [])
      {@prefix <> id, summary |> OpenAgentsRuntime.Convex.CanonicalJson.encode() |> timeless()}
    end
  end

  defp timeless(json), do: Regex.replace(~r/"(projected_at|projection_hash)":"[^"]*",/, json, "")

  # A function of the stand-in, past the sidecar: its answer.
  defp call(c, what, path, args, authorization) do
    headers = [{~c"authorization", String.to_charlist(authorization)}]
    body = ~s({"path":"#{path}","format":"json","args":#{args}})
    request = {String.to_charlist(c.standin.url <> "/api/#{what}"), headers, ~c"application/json", body}
    {:ok, {{_, 200, _}, _, answer}} = :httpc.request(:post, request, [timeout: 30_000], body_format: :binary)
    assert answer =~ ~s("status":"success")
    answer
  end

  # What a signed-in user is given of an invoice (test/convex/convex/invoices.ts).
  defp read_as(c, user, id),
    do: call(c, "query", "invoices:get", ~s({"document_id":"#{@prefix}#{id}"}), "Bearer " <> Standin.token(c.standin, user))

  describe "a kind that is configured" do
    setup :start

    test "is looked at after a start, projected, and projected soon", c do
      assert Map.keys(documents(c)) == [@prefix <> "early"]

      invoice("i1", 1)
      assert {:ok, %{write: "queued", document_id: @prefix <> "i1", summary: summary}} = Projector.project(:invoice_summary, "i1")
      assert summary["runtime_source"] == %{"entity" => "invoice", "invoice_id" => "i1", "seq" => 1}
      assert %{"invoice_id" => "i1", "amount" => 12, "metadata" => metadata} = summary
      assert metadata == %{} and not is_map_key(summary, "secret")
      assert documents(c) == wanted()

      {:ok, 2} = DiskEventLog.append(:invoice_summary, "i1", "invoice.paid", %{}, row: %{status: "paid"})
      :ok = Projector.project_async(:invoice_summary, "i1")
      :ok = :convex_sidecar.settle(c.name, 10_000)
      assert documents(c) == wanted()
      assert {:ok, %{seq: 2}} = :convex_sidecar.checkpoint(c.name, @prefix <> "i1")

      assert Projector.project(:invoice_summary, "nobody") == {:error, :entity_not_found}
      assert [%{invoice_id: "i1", seq: 1} | _] = DiskEventLog.events_after(:invoice_summary, "i1", 0, 9)
    end

    test "is read through one query, by its owner alone", c do
      assert Map.keys(documents(c)) == [@prefix <> "early"]
      assert read_as(c, "7", "early") =~ ~s("amount":12)
      assert read_as(c, "8", "early") =~ ~s("value":null)
    end

    test "is rebuilt, alone and among all, also by mix", c do
      invoice("i1", 3)
      :ok = DiskEventLog.create_run("r")
      {:ok, 1} = DiskEventLog.append_event("r", "run.started")

      assert {:ok, %{total_entities: 2, failed_entities: 0, results: results}} = Reprojection.rebuild_all(kinds: [:invoice_summary])
      assert Enum.map(results, &{&1.scope, &1.entity_id}) == [{"invoice", "early"}, {"invoice", "i1"}]
      assert {:ok, %{total_entities: 3, failed_entities: 0}} = Reprojection.rebuild_all()
      assert documents(c) == wanted()

      {:ok, %{cleared: 3}} = :convex_sidecar.clear(c.name, :all)
      {:ok, _} = :convex_sidecar.flush(c.name, 10_000)
      run = &Mix.Tasks.Runtime.Convex.Reproject.run/1
      assert capture_io(fn -> run.(~w(--kind invoice_summary --id i1)) end) =~ "scope=invoice entity=i1 result=ok"
      assert Map.keys(documents(c)) == [@prefix <> "i1"]
      assert capture_io(fn -> run.(~w(--all --kind invoice_summary)) end) =~ "succeeded_entities: 2"
      assert documents(c) == wanted()
      assert Standin.documents(c.standin, ["run_summary"]) == %{}

      for wrong <- [~w(--kind invoice_summary), ~w(--id i1), ~w(--all --kind nope), ~w(--all --kind invoice_summary --id i1)],
          do: assert_raise(Mix.Error, fn -> run.(wrong) end)
    end

    test "is audited and repaired from the event log", c do
      invoice("i1", 1)
      {:ok, _} = Projector.project(:invoice_summary, "i1")
      assert documents(c) == wanted()
      assert {:ok, %{checked: 2, findings: []}} = Audit.audit(:invoice_summary)

      Standin.reset(c.standin)
      foreign = ~s({"document_id":"#{@prefix}gone","kind":"invoice_summary","summary":{},"seq":1})
      call(c, "mutation", "runtime:upsertBatch", ~s({"items":[#{foreign}]}), "Convex " <> c.standin.admin_key)

      assert {:ok, %{missing: 2, orphaned: 1, reprojected: 2, failed: []}} = Audit.audit(:invoice_summary, repair: true)
      assert documents(c) == wanted()
    end

    test "is exported, and rebuilt from the file without the VM's help", c do
      invoice("i1", 2)
      path = Path.join(c.dir, "out.jsonl")
      export = &Mix.Tasks.Runtime.Convex.Export.run/1
      assert capture_io(:stderr, fn -> export.(["--to", path, "--kind", "invoice_summary"]) end) =~ "exported 2 entities"
      text = File.read!(path)
      assert text == Enum.map_join(Export.lines(), &(&1 <> "\n"))
      refute text =~ "secret"

      {:ok, _} = :convex_sidecar.clear(c.name, {:kind, :invoice_summary})
      assert documents(c) == %{}
      args = ["rebuild", "--from", path, "--store", Path.join(c.dir, "store")]
      assert {out, 0} = System.cmd(program(), args, stderr_to_stdout: true)
      assert out =~ "2 written"
      assert documents(c) == wanted()
    end
  end

  test "the program and this VM mean the same by each kind" do
    built_in = Kinds.all()
    configure(:convex_kinds, @kinds ++ [run_summary: [fields: "status note extra:map", entity: "job"]])
    path = Path.join(tmp_dir(), "kinds.ini")

    File.write!(path, for({name, keys} <- Kinds.sections(), do: ["[#{name}]\n", for({k, v} <- keys, do: "#{k} = #{v}\n")]))
    {text, 0} = System.cmd(program(), ["check-config", "--config", path], stderr_to_stdout: true)

    printed = Regex.scan(~r/^\[kind\.(.*)\]\nprefix = (.*)\nentity = (.*)\nid_field = (.*)\nmutation = (.*)\nfields = (.*)$/m, text)

    ours =
      for kind <- Enum.map(Kinds.all(), &Kinds.fetch!/1) do
        fields = Enum.map_join(kind.fields, " ", &if(&1 in kind.maps, do: "#{&1}:map", else: "#{&1}"))
        ["#{kind.name}", kind.prefix, kind.entity, "#{kind.id_field}", kind.mutation, fields]
      end

    assert Enum.map(printed, &tl/1) == ours
    assert Kinds.all() == built_in ++ [:invoice_summary]
    assert %{entity: "job", prefix: "runtime/run_summary:", maps: [:extra]} = Kinds.fetch!(:run_summary)
  end

  defp program, do: Application.app_dir(:convex_sidecar, "priv/convex_sidecar")
end
