defmodule ConvexSidecar.ConfigTest do
  use SidecarCase, async: true

  defp options(given), do: :convex_sidecar_config.options(given)

  defp ini(sections, own \\ []),
    do: sections |> :convex_sidecar_config.ini(own) |> IO.iodata_to_binary()

  defp why(given) do
    {:error, {:bad_option, _option, sentence}} = options(given)
    sentence
  end

  test "managed is the default, and names its node after this VM" do
    {:ok, options} = options([])
    [alive, "127.0.0.1"] = node() |> to_string() |> String.split("@")
    assert options.mode == :managed
    assert options.dest == {:convex_sidecar, :"#{alive}_convex@127.0.0.1"}
    assert options.drain_ms == 10_000
    assert options.cookie == :undefined
  end

  test "a second instance has a node of its own" do
    {:ok, options} = options(name: :other)
    assert to_string(elem(options.dest, 1)) =~ "_other@127.0.0.1"
  end

  test "every wrong option is named in a sentence" do
    assert why(nome: :x) =~ "nome is no option"
    assert why(mode: :sideways) =~ "mode must be managed or external"
    assert why(mode: :external) =~ "node must be given when mode is external"
    assert why(node: :nohost) =~ "node must be a full node name"
    assert why(drain_ms: -1) =~ "drain_ms must be an integer from 0 to 600000"
    assert why(backoff_min_ms: 10, backoff_max_ms: 5) =~ "backoff_max_ms"
    assert why(cookie: :secret) =~ "made fresh"
    assert why(program: 7) =~ "program must be a path"
    assert why(mode: :external, node: :a@b, config: []) =~ "config is for managed mode"
    assert why([:name]) =~ "pairs"
  end

  test "the pages say of each option what the table says" do
    table = :convex_sidecar_config.markdown()
    assert length(String.split(table, "\n")) == 23
    assert File.read!("docs/CLUSTER.md") =~ table
    assert {:docs_v1, _, _, _, %{"en" => doc}, _, _} = Code.fetch_docs(OpenAgentsRuntime.Convex.Sidecar)
    assert doc =~ String.trim(table)
  end

  test "what is left out has the default that the table says" do
    assert {:ok, %{dirty_limit: 100_000, backoff_min_ms: 100, backoff_max_ms: 5000}} = options([])
    assert {:ok, %{backoff_min_ms: 50, backoff_max_ms: 2000}} = options(mode: :external, node: :a@b)
    assert {:ok, %{backoff_min_ms: 9000, backoff_max_ms: 9000}} = options(backoff_min_ms: 9000)
    assert why(store_dir: nil) =~ "store_dir must be a path"
    assert why(request_ms: 0) =~ "request_ms must be an integer from 1 to 3600000"
  end

  test "what the owner decides is no matter of the configuration" do
    assert why(config: [node: [cookie: "x"]]) =~ "[node] cookie is an option of its own"
    assert why(config: [node: [name: "x@y"]]) =~ "[node] name is an option of its own: node"
    assert why(config: [delivery: [drain_ms: 5]]) =~ "drain_ms"
  end

  test "sections become INI, closed by a dot" do
    sections = %{"sink" => [type: :http, base_url: "http://x:1", batch_documents: 8]}

    assert ini(sections, [{:node, :name, :a@b}]) ==
             "[sink]\ntype = http\nbase_url = http://x:1\nbatch_documents = 8\n[node]\nname = a@b\n.\n"
  end

  test "what is decided at start wins over what was given" do
    assert ini([node: [name: "old"]], [{:node, :name, "new"}]) == "[node]\nname = new\n.\n"
  end

  test "a value that INI would change is refused, and not shown" do
    for bad <- ["two\nlines", " blank", "blank ", "a ;comment", ";a", "nul\0"] do
      sentence = why(config: [sink: [admin_key: bad]])
      assert sentence =~ "[sink] admin_key must be one line"
      if byte_size(bad) > 7, do: refute(sentence =~ bad)
    end

    assert why(config: [sink: [base_url: {:a}]]) =~ "must be an atom, an integer or text"
    assert why(config: [{"a]\n[b", []}]) =~ "a section may have"
    assert why(config: [:sink]) =~ "pairs" or why(config: [:sink]) =~ "every section"
  end

  test "a configuration given as a fun is read, and not kept as text" do
    {:ok, options} = options(config: fn -> [sink: [admin_key: "top-secret"]] end, store_dir: "/s")
    refute inspect(options, limit: :infinity) =~ "top-secret"
    text = ini(options.config.())
    assert text =~ "admin_key = top-secret"
    assert text =~ "[store]\ndir = /s"
  end

  test "a fault in the options is an error of start_link" do
    assert {:error, {:bad_option, :drain_ms, _}} = :convex_sidecar.start_link(drain_ms: :long)
  end

  test "what a VM speaks: it works, or a sentence says what to do" do
    for {alive, protocol, longnames, one_port, expected} <- [
          {true, ~c"inet_tcp", true, false, :ok},
          {true, ~c"inet_tcp", false, false, :ok},
          {true, ~c"inet6_tcp", true, false, :ok},
          {false, ~c"inet_tls", :ignored, true, {:no_distribution, "--name app@127.0.0.1"}},
          {true, ~c"inet_tls", true, false, {:tls_distribution, "speaks TLS distribution"}},
          {true, ~c"inet6_tls", false, false, {:tls_distribution, "start the VM without -proto_dist inet_tls"}},
          {true, ~c"inet6_tcp", false, false, {:short_names_over_ipv6, "--name app@HOST"}},
          {true, ~c"inet_tcp", true, true, {:no_epmd, "-erl_epmd_port"}},
          {true, ~c"inet6_tcp", true, true, {:no_epmd, "-erl_epmd_port"}},
          {true, ~c"my_own", true, true, {:other_distribution, "speaks my_own"}},
          {true, ~c"my_own", true, false, {:other_distribution, "speaks my_own"}}
        ] do
      case :convex_sidecar_config.distribution(alive, protocol, longnames, one_port) do
        :ok ->
          assert expected == :ok

        {why, text} ->
          assert {^why, says} = expected
          assert text =~ says and text =~ "remembered until it can; start"
      end
    end
  end

  test "this VM can speak to a sidecar" do
    assert :convex_sidecar_config.distribution() == :ok
  end

  test "of each sort of value what is right is taken, up to its bounds, and what is not is named" do
    external = [mode: :external, node: :a@b]

    for good <- [
          [name: :x],
          [node: :a@b],
          [store_dir: "/x"],
          [store_dir: ~c"/x"],
          [config: %{}],
          [config: []],
          [config: fn -> [] end],
          [config: [node: [port: 5], other: [cookie: "x"], sink: [base_url: ~c"http://x"]]],
          [drain_ms: 0],
          [drain_ms: 600_000],
          [backoff_min_ms: 10, backoff_max_ms: 10],
          external ++ [cookie: :x],
          external ++ [cookie: fn -> :x end],
          external ++ [port: 1],
          external ++ [port: 65_535],
          %{name: :x}
        ],
        do: assert({:ok, _} = options(good), inspect(good))

    for {bad, says} <- [
          {[name: nil], "name must be an atom"},
          {[name: :undefined], "name must be an atom"},
          {[name: "x"], "name must be an atom"},
          {[node: "a@b"], "node must be a full node name"},
          {[node: :a@], "node must be a full node name"},
          {[node: :"@b"], "node must be a full node name"},
          {[store_dir: ""], "store_dir must be a path"},
          {[store_dir: []], "store_dir must be a path"},
          {[store_dir: :x], "store_dir must be a path"},
          {[config: :x], "config must be a list or map of sections"},
          {[config: fn _ -> [] end], "config must be a list or map of sections"},
          {[drain_ms: 600_001], "drain_ms must be an integer from 0 to 600000"},
          {[drain_ms: 1.5], "drain_ms must be an integer"},
          {[drain_ms: "7"], "drain_ms must be an integer"},
          {[drain_ms: nil], "drain_ms must be an integer"},
          {external ++ [cookie: "x"], "cookie must be an atom, or a fun"},
          {external ++ [port: 0], "port must be an integer from 1 to 65535"},
          {[port: 7], "is told by the program in managed mode"},
          {[{:name, :x, :y}], "pairs"},
          {[["name", :x]], "pairs"},
          {:nonsense, "pairs"}
        ],
        do: assert(why(bad) =~ says, inspect(bad))
  end

  test "the longest wait is at least the shortest, and what was given for it counts" do
    assert {:ok, %{backoff_max_ms: 20}} = options(backoff_min_ms: 10, backoff_max_ms: 20)
    assert {:ok, %{backoff_max_ms: 5000}} = options(backoff_min_ms: 4000)
    assert {:ok, %{backoff_max_ms: 9000}} = options(backoff_min_ms: 9000)
  end
end
