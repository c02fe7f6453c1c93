defmodule CanonicalTest do
  @moduledoc """
  The canonical form twice: in C (room json, through the real binary) and in Elixir (CanonicalJson),
  written apart, must agree byte for byte; and the Elixir one with RFC 8785's own examples.

  The terms are made from a seed, which is printed when a test fails; CANONICAL_SEED=n makes the same
  ones again, CANONICAL_DOCUMENTS=n another number of them.
  """
  use SidecarCase, async: true

  alias OpenAgentsRuntime.Convex.CanonicalJson

  @moduletag timeout: 120_000
  @id "runtime/codex_worker_summary:"

  describe "RFC 8785" do
    test "3.2.2: the sample of primitives" do
      sample = %{
        "numbers" => [333_333_333.33333329, 1.0e30, 4.50, 2.0e-3, 0.000000000000000000000000001],
        "string" => "\u20ac$\u000F\u000aA'\u0042\u0022\u005c\\\"\u002f",
        "literals" => [nil, true, false]
      }

      assert CanonicalJson.encode(sample) ==
               ~S({"literals":[null,true,false],"numbers":[333333333.3333333,1e+30,4.5,0.002,1e-27],"string":"€$\u000f\nA'B\"\\\\\"/"})
    end

    test "3.2.3: keys sort by UTF-16 code units, so a surrogate pair before U+FB33" do
      sample = %{
        "\u20ac" => "Euro Sign",
        "\r" => "Carriage Return",
        "\ufb33" => "Hebrew Letter Dalet With Dagesh",
        "1" => "One",
        "\u{1f600}" => "Emoji: Grinning Face",
        "\u0080" => "Control",
        "\u00f6" => "Latin Small Letter O With Diaeresis"
      }

      assert CanonicalJson.encode(sample) ==
               "{\"\\r\":\"Carriage Return\",\"1\":\"One\",\"\u0080\":\"Control\",\"\u00f6\":\"Latin Small Letter O With Diaeresis\",\"\u20ac\":\"Euro Sign\",\"\u{1f600}\":\"Emoji: Grinning Face\",\"\ufb33\":\"Hebrew Letter Dalet With Dagesh\"}"
    end

    # Appendix B: the bits of a double, and its text.
    @numbers [
      {0x0000000000000000, "0"},
      {0x8000000000000000, "0"},
      {0x0000000000000001, "5e-324"},
      {0x8000000000000001, "-5e-324"},
      {0x7FEFFFFFFFFFFFFF, "1.7976931348623157e+308"},
      {0xFFEFFFFFFFFFFFFF, "-1.7976931348623157e+308"},
      {0x4340000000000000, "9007199254740992"},
      {0xC340000000000000, "-9007199254740992"},
      {0x4430000000000000, "295147905179352830000"},
      {0x44B52D02C7E14AF5, "9.999999999999997e+22"},
      {0x44B52D02C7E14AF6, "1e+23"},
      {0x44B52D02C7E14AF7, "1.0000000000000001e+23"},
      {0x444B1AE4D6E2EF4E, "999999999999999700000"},
      {0x444B1AE4D6E2EF4F, "999999999999999900000"},
      {0x444B1AE4D6E2EF50, "1e+21"},
      {0x3EB0C6F7A0B5ED8C, "9.999999999999997e-7"},
      {0x3EB0C6F7A0B5ED8D, "0.000001"},
      {0x41B3DE4355555553, "333333333.3333332"},
      {0x41B3DE4355555554, "333333333.33333325"},
      {0x41B3DE4355555555, "333333333.3333333"},
      {0x41B3DE4355555556, "333333333.3333334"},
      {0x41B3DE4355555557, "333333333.33333343"},
      {0xBECBF647612F3696, "-0.0000033333333333333333"},
      {0x43143FF3C1CB0959, "1424953923781206.2"}
    ]

    test "appendix B: numbers" do
      for {bits, text} <- @numbers do
        <<float::float>> = <<bits::64>>
        assert {bits, CanonicalJson.encode(float)} == {bits, text}
      end
    end
  end

  defp env(name, default), do: String.to_integer(System.get_env(name) || to_string(default))

  describe "C against Elixir" do
    setup :start

    test "generated documents: the same hash and the same bytes on both sides", c do
      count = env("CANONICAL_DOCUMENTS", 20_000)
      half = div(count, 2)

      for numbers <- Enum.chunk_every(1..half, 1000) do
        upserts = for n <- numbers, do: upsert(n)
        projects = for n <- numbers, do: project(n)
        agree(c, upserts)
        agree(c, projects)
      end
    end

    test "all of Unicode, each plane, and every float that has one digit", c do
      points = Enum.concat([0..0xD7FF, 0xE000..0x10FFFF])

      texts = for chunk <- Enum.chunk_every(points, 20_000), do: %{"t" => List.to_string(chunk)}

      floats = for e <- -324..308, m <- [1, 9], f = parse("#{m}e#{e}"), do: %{"f" => f, "g" => -f}
      agree(c, for({m, n} <- Enum.with_index(texts ++ floats), do: upsert("all #{n}", m)))
    end
  end

  defp start(_context) do
    name = unique_name()
    node = :"c#{unique()}_#{System.pid()}@127.0.0.1"

    start_instance(
      name: name,
      node: node,
      store_dir: Path.join(tmp_dir(), "store"),
      config: [sink: [type: :noop]]
    )

    :ok = :convex_sidecar.await(name, 10_000)
    seed = env("CANONICAL_SEED", :erlang.unique_integer([:positive]) + System.os_time(:second))
    :rand.seed(:exsss, seed)
    %{name: name, seed: seed}
  end

  defp parse(text) do
    case Float.parse(text) do
      {float, ""} when float > 0 -> float
      _ -> nil
    end
  rescue
    ArgumentError -> nil
  end

  # Send them in one batch; each answer has the document, which must be the one we would make.
  defp agree(c, requests) do
    {:ok, replies} = :convex_sidecar.batch(c.name, Enum.map(requests, &elem(&1, 0)), 60_000)
    # Those without an answer would be compared with nothing.
    assert length(replies) == length(requests)

    for {{request, document}, reply} <- Enum.zip(requests, replies),
        why = difference(document, reply) do
      shown = inspect(request, limit: :infinity, printable_limit: :infinity)
      flunk("seed #{c.seed}: #{why}\n#{shown}")
    end
  end

  # projected_at is the sidecar's where the request gives none.
  defp difference(document, {:ok, %{projection_hash: hash, summary: summary}}) do
    document = Map.put(document, "projected_at", summary["projected_at"])
    wanted = CanonicalJson.encode(Map.put(document, "projection_hash", hash))

    cond do
      CanonicalJson.hash(document) != hash ->
        "another hash, of #{CanonicalJson.encode(summary)} for #{wanted}"

      CanonicalJson.encode(summary) != wanted ->
        "it comes back as #{CanonicalJson.encode(summary)} for #{wanted}"

      true ->
        nil
    end
  end

  defp difference(_document, reply), do: "answered #{inspect(reply)}"

  # `{request, the document it must become}`
  defp upsert(n), do: upsert("u#{n}", map(5))

  defp upsert(id, extra) do
    document_id = @id <> "#{id} #{unique()}"

    document =
      Map.merge(extra, %{
        "document_id" => document_id,
        "runtime_source" => %{"entity" => "codex_worker", "worker_id" => id, "seq" => 1},
        "projection_version" => "v1",
        "projected_at" => "2026-02-19T20:00:00Z"
      })

    {{:upsert, :codex_worker_summary, document_id, document, %{return: :summary}}, document}
  end

  defp project(n) do
    id = "p#{n} #{unique()}"

    columns =
      ~w(status owner_user_id owner_guest_scope workspace_ref codex_home_ref adapter started_at) ++
        ~w(stopped_at last_heartbeat_at updated_at)

    values = for column <- columns, into: %{}, do: {column, if(:rand.uniform(3) > 1, do: value(3))}
    metadata = map(4)

    row = for {key, value} <- Map.put(values, "metadata", metadata), into: %{}, do: {either(key), value}

    event = %{seq: 1, event_type: text(), inserted_at: time()}

    document =
      Map.merge(values, %{
        "metadata" => metadata,
        "document_id" => @id <> id,
        "kind" => "codex_worker_summary",
        "worker_id" => id,
        "latest_seq" => 1,
        "event_count" => 1,
        "latest_event_type" => event.event_type,
        "latest_event_at" => event.inserted_at,
        "runtime_source" => %{"entity" => "codex_worker", "worker_id" => id, "seq" => 1},
        "projection_version" => "v1"
      })

    options = %{return: :summary, projection_version: "v1"}
    {{:project, :codex_worker_summary, id, row, [event], options}, document}
  end

  # ---- terms of every shape; nothing that Convex would refuse

  defp map(depth) do
    sizes = if :rand.uniform(20) == 1, do: [31, 32, 33, 34, 60], else: [0, 1, 2, 3, 5, 8]
    size = min(Enum.random(sizes), if(depth < 4, do: 4, else: 60))
    keys = for _ <- 1..size//1, uniq: true, do: key()
    for key <- keys, into: %{}, do: {either(key), value(depth - 1)}
  end

  # Atoms and binaries, atoms only of few names: they stay in the VM.
  defp either(key),
    do: if(byte_size(key) < 4 and :rand.uniform(2) == 1, do: String.to_atom(key), else: key)

  # ASCII without control characters, neither beginning with $ nor with _: what Convex takes.
  defp key do
    first = Enum.random(~c(abcxyzABCXYZ019 ~!.-/"\\))

    if :rand.uniform(3) == 1,
      do: List.to_string([first | Integer.to_charlist(:rand.uniform(99))]),
      else: List.to_string([first | for(_ <- 1..(3 + :rand.uniform(8)), do: Enum.random(0x20..0x7E))])
  end

  defp value(depth) when depth > 0 do
    case :rand.uniform(14) do
      1 -> map(depth)
      2 -> for _ <- 1..:rand.uniform(4), do: value(depth - 1)
      3 -> []
      n -> scalar(n)
    end
  end

  defp value(_depth), do: scalar(4 + :rand.uniform(10))

  defp scalar(n) when n in 4..5,
    do: Enum.random([nil, :null, :undefined, true, false, :atom, :"ätom €", :""])

  defp scalar(n) when n in 6..7, do: integer()
  defp scalar(n) when n in 8..10, do: float()
  defp scalar(n) when n in 11..12, do: text()
  defp scalar(13), do: time()

  defp scalar(14),
    do: %{
      __struct__: Decimal,
      sign: Enum.random([1, -1]),
      coef: :rand.uniform(100_000) - 1,
      exp: :rand.uniform(30) - 20
    }

  @limits [
    0,
    9_007_199_254_740_991,
    9_007_199_254_740_992,
    9_007_199_254_740_993,
    9_223_372_036_854_775_807,
    4_294_967_295,
    2_147_483_647,
    134_217_727
  ]

  defp integer do
    magnitude =
      Enum.random([
        Enum.random(@limits),
        :rand.uniform(300),
        Bitwise.bsl(1, :rand.uniform(62)) + :rand.uniform(3)
      ])

    Enum.random([1, -1]) * magnitude
  end

  # Any bits that are a number; short decimals; the edges of each way of writing one.
  defp float do
    case :rand.uniform(6) do
      1 ->
        (:rand.uniform(2_000_000) - 1_000_000) / Enum.random([1, 10, 100, 1000])

      2 ->
        :math.pow(10, :rand.uniform(46) - 23) * Enum.random([1, -1, 1.5, 9.999999])

      3 ->
        Enum.random([
          0.0,
          -0.0,
          1.0e21,
          999_999_999_999_999_900_000.0,
          1.0e-6,
          9.999999999999999e-7,
          1.0e-7,
          5.0e-324,
          2.2250738585072014e-308
        ])

      4 ->
        Bitwise.bsl(1, :rand.uniform(62)) * 1.0

      _ ->
        bits()
    end
  end

  defp bits do
    case <<:rand.uniform(0x10000000000000000) - 1::64>> do
      <<float::float>> -> float
      _nan_or_infinity -> bits()
    end
  end

  defp text do
    for _ <- 1..(:rand.uniform(13) - 1)//1, into: "", do: <<point()::utf8>>
  end

  defp point do
    range =
      Enum.random([
        0..0x1F,
        0x20..0x7F,
        0x80..0x7FF,
        0x2020..0x2030,
        0xE000..0xFFFF,
        0x10000..0x1FFFF,
        0x20000..0x10FFFF
      ])

    Enum.random(range)
  end

  defp time do
    at = DateTime.from_unix!(:rand.uniform(4_000_000_000_000_000), :microsecond)
    at = %{at | microsecond: {div(elem(at.microsecond, 0), 1000) * 1000, Enum.random([0, 3, 6])}}
    at = if elem(at.microsecond, 1) == 0, do: DateTime.truncate(at, :second), else: at
    Enum.random([at, DateTime.to_naive(at), DateTime.to_date(at), DateTime.to_time(at)])
  end
end
