defmodule TortureTest do
  @moduledoc """
  A short, seeded torture (test/torture, `make torture`) in a VM of its own: it kills its epmd, too.
  """
  use ExUnit.Case, async: false

  alias Torture.{Documents, Oracle}

  @moduletag timeout: 120_000

  describe "the oracle" do
    setup do
      oracle = Oracle.new()
      for n <- 1..3, do: Oracle.sent("d", "h#{n}", n)
      Oracle.cleared("d", 4)
      Oracle.sent("d", "h5", 5)
      %{oracle: oracle}
    end

    defp commit(hash, at), do: %{id: "d", seq: 1, at: at, hash: hash, removed: hash == nil}
    defp judge(c, commits), do: Oracle.judge(c.oracle, Enum.map(commits, fn {hash, at} -> commit(hash, at) end))

    test "allows what is sent in order, with gaps and removals", c do
      assert %{backwards: [], foreign: [], written: 3, removed: 1} = judge(c, [{"h1", "1"}, {"h3", "2"}, {nil, "3"}, {"h5", "4"}])
    end

    test "sees an older version, an older time, and what was there before a removal", c do
      assert %{backwards: [%{n: 1}]} = judge(c, [{"h2", "1"}, {"h1", "2"}])
      assert %{backwards: [%{n: 3}]} = judge(c, [{"h2", "2"}, {"h3", "1"}])
      assert %{backwards: [%{n: 3}]} = judge(c, [{nil, "1"}, {"h3", "2"}])
    end

    test "takes a version that was true twice for the nearer time", c do
      Oracle.sent("d", "h1", 6)
      assert %{backwards: []} = judge(c, [{"h1", "1"}, {"h3", "2"}, {"h1", "3"}])
      assert %{backwards: [%{n: 3}]} = judge(c, [{"h1", "1"}, {"h3", "2"}, {"h1", "3"}, {"h3", "4"}])
    end

    test "sees what was never sent", c do
      assert %{foreign: [_, _]} = judge(c, [{"h9", "1"}, {"h5", "2"}, {nil, "3"}])
    end

    test "sees what is missing, what differs, what came back" do
      entity = {:run_summary, "e"}
      expected = %{"a" => &Documents.bytes(entity, 1, 1, &1), "b" => &Documents.bytes(entity, 2, 2, &1), "m" => & &1}
      right = Documents.bytes(entity, 1, 1, "2026-02-19T20:00:00.000000Z")
      {wrong, 1} = Oracle.compare(expected, %{"a" => right, "b" => right, "r" => right})
      assert Enum.sort(wrong) == [{:differs, "b"}, {:missing, "m"}, {:resurrected, "r"}]
    end
  end

  test "kills among faults of every kind: nothing lost, nothing back, nothing foreign" do
    {built, status} = System.cmd("make", ["-s", "torture-program"], stderr_to_stdout: true)
    assert status == 0, built
    env = [{"CYCLES", "5"}, {"SEED", "5"}, {"ENTITIES", "300"}, {"MIX_BUILD_PATH", Mix.Project.build_path()}]
    {text, status} = System.cmd(Path.expand("torture/run", __DIR__), [], env: env, stderr_to_stdout: true)
    assert status == 0, text
    assert text =~ ~r/cycles 5, kills 5,/
    assert text =~ "lost 0, backwards 0, foreign 0, resurrected 0, healthy dead 0, other faults 0"
    [kept] = Regex.run(~r/answered kept (\d+)/, text, capture: :all_but_first)
    assert String.to_integer(kept) > 200
  end
end
