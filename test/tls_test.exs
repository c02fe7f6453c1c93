defmodule TlsTest do
  @moduledoc """
  The sidecar and certificates, with a TLS server in front of the stand-in: what it accepts, what it
  refuses, and the words for it. Nothing is sent to a server that has not proved its name.
  """
  use SidecarCase, async: false

  @moduletag timeout: 60_000
  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]

  setup_all do
    %{standin: Standin.start()}
  end

  setup c do
    Standin.reset(c.standin)
    %{dir: tmp_dir(), chain: TlsFront.chain()}
  end

  # A managed instance that trusts `roots` and speaks to `chain` at https://localhost.
  defp start(c, chain, roots) do
    watch_log()
    front = TlsFront.start(chain, c.standin.url)
    ca_file = Path.join(c.dir, "ca.pem")
    TlsFront.write_pem(ca_file, roots)

    sink = [type: :http, base_url: "https://localhost:#{front.port}", admin_key: c.standin.admin_key, ca_file: ca_file]
    delivery = [probe_ms: 100, backoff_min_ms: 10, backoff_max_ms: 100]
    node = :"tls#{unique()}_#{System.pid()}@127.0.0.1"

    name =
      start_instance(
        name: unique_name(),
        node: node,
        store_dir: Path.join(c.dir, "store"),
        drain_ms: 100,
        config: [sink: sink, delivery: delivery]
      )

    :ok = :convex_sidecar.await(name, 10_000)
    {:ok, _} = :convex_sidecar.project(name, :run_summary, "r", %{status: "s1"}, [%{seq: 1, event_type: "run.delta", inserted_at: @t}])
    Map.merge(c, %{name: name, ca_file: ca_file})
  end

  defp status(c), do: with({:ok, s} <- :convex_sidecar.status(c.name), do: s)
  defp delivered?(c), do: Standin.documents(c.standin) |> Map.has_key?(@run <> "r")

  defp refuses(c, chain, roots, why) do
    c = start(c, chain, roots)
    wait_until(fn -> status(c).state == "waiting" and status(c)[:why] =~ why end, 10_000)
    assert %{state: "waiting", metrics: %{pending: 1, delivered_total: 0}} = status(c)
    refute_received {:tls_front, :request}
    assert_receive {:log, :warning, %{event: "delivery.waiting"}, _}, 5000
    c
  end

  test "a good chain and name: documents are delivered", c do
    c = start(c, c.chain, [c.chain.root])
    assert {:ok, _} = :convex_sidecar.flush(c.name, 10_000)
    assert delivered?(c)
  end

  test "an expired certificate is refused", c do
    chain = TlsFront.chain(validity: {{2020, 1, 1}, {2021, 1, 1}})
    refuses(c, chain, [chain.root], "certificate has expired")
  end

  test "a certificate that is not yet valid is refused", c do
    chain = TlsFront.chain(validity: {{2090, 1, 1}, {2091, 1, 1}})
    refuses(c, chain, [chain.root], "certificate is not yet valid")
  end

  test "a certificate for another host is refused", c do
    chain = TlsFront.chain(host: "other.example")
    refuses(c, chain, [chain.root], ~r/no alternative certificate subject name matches/)
  end

  test "an unknown authority is refused", c do
    refuses(c, c.chain, [c.chain.stranger], "unable to get local issuer certificate")
  end

  test "a chain without its intermediate is refused", c do
    refuses(c, %{c.chain | intermediates: []}, [c.chain.root], "unable to get local issuer certificate")
  end

  test "a ca_file replaced while it runs is read by the next connection", c do
    c = refuses(c, c.chain, [c.chain.stranger], "unable to get local issuer certificate")
    TlsFront.write_pem(c.ca_file, [c.chain.root])
    assert {:ok, _} = :convex_sidecar.flush(c.name, 10_000)
    assert delivered?(c)
  end
end
