defmodule OpenAgentsRuntime.Convex.OwnModulesTest do
  use SidecarCase, async: true

  alias OpenAgentsRuntime.Convex.OwnModules

  test "ours are ours" do
    assert OwnModules.check() == :ok
  end

  # A VM of its own, with an application before ours in the path that has our Projector and NoopSink.
  test "a host that still has modules of the same names: the application does not start, and names them" do
    host = Path.join(tmp_dir(), "host/ebin")
    File.mkdir_p!(host)
    ours = Application.app_dir(:convex_sidecar, "ebin")

    for name <- ~w(Projector NoopSink),
        do: File.cp!("#{ours}/Elixir.OpenAgentsRuntime.Convex.#{name}.beam", "#{host}/Elixir.OpenAgentsRuntime.Convex.#{name}.beam")

    code = "IO.inspect(Application.ensure_all_started(:convex_sidecar), limit: :infinity, printable_limit: :infinity)"
    {said, 0} = System.cmd("elixir", ["-pa", ours, "-pa", host, "-e", code], stderr_to_stdout: true)
    assert said =~ "modules_of_another"
    assert said =~ "(#{host}) defines modules of the same names: OpenAgentsRuntime.Convex.NoopSink, OpenAgentsRuntime.Convex.Projector."
    assert said =~ "Delete their files from that application"
    {said, 0} = System.cmd("elixir", ["-pa", ours, "-e", code], stderr_to_stdout: true)
    assert said =~ "{:ok, ["
  end
end
