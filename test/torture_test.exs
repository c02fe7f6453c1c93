defmodule TortureTest do
  @moduledoc """
  A short, seeded torture (test/torture, `make torture`) in a VM of its own: it kills its epmd, too.
  """
  use ExUnit.Case, async: false

  @moduletag timeout: 120_000

  test "kills among faults of every kind: nothing lost, nothing back, nothing foreign" do
    {built, status} = System.cmd("make", ["-s", "torture-program"], stderr_to_stdout: true)
    assert status == 0, built
    env = [{"CYCLES", "5"}, {"SEED", "5"}, {"ENTITIES", "300"}, {"MIX_BUILD_PATH", Mix.Project.build_path()}]
    {text, status} = System.cmd("test/torture/run", [], env: env, stderr_to_stdout: true)
    assert status == 0, text
    assert text =~ ~r/cycles 5, kills 5,/
    assert text =~ "lost 0, backwards 0, foreign 0, resurrected 0"
    [kept] = Regex.run(~r/answered kept (\d+)/, text, capture: :all_but_first)
    assert String.to_integer(kept) > 200
  end
end
