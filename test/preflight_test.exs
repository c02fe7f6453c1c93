defmodule OpenAgentsRuntime.Convex.PreflightTest do
  use SidecarCase, async: false

  import ExUnit.CaptureIO

  alias OpenAgentsRuntime.Convex.{HttpSink, Preflight}

  setup do
    standin = Standin.start()
    configure(:convex_projection_sink, HttpSink)
    configure(:convex_http_sink, base_url: standin.url, admin_key: standin.admin_key)
    %{standin: standin}
  end

  test "all is well", %{standin: standin} do
    assert {:ok, said} = Preflight.run()
    assert said =~ "ok       destination: http #{standin.url}\n"
    assert said =~ "ok       Convex: answers, and takes the key\n"
    assert said =~ ~r/^ok       functions: version 2, deployment .+$/m
    assert said =~ "ok       kind run_summary: a document would be taken\n"
    assert said =~ "ok       kind codex_worker_summary: a document would be taken\n"
    assert said =~ ~r/^ok       clock: /m
    refute said =~ standin.admin_key
    assert capture_io(fn -> Mix.Task.rerun("runtime.convex.preflight") end) =~ "takes the key"
  end

  test "what is refused, is away, or is wrong has a status of its own", %{standin: standin} do
    configure(:convex_http_sink, base_url: standin.url, admin_key: "convex-self-hosted|00")
    assert {:bad, said} = Preflight.run()
    assert said =~ "BadAdminKey" and said =~ "; next: "
    run = fn -> Mix.Task.rerun("runtime.convex.preflight") end
    assert capture_io(fn -> assert catch_exit(run.()) == {:shutdown, 1} end) =~ "BAD"

    configure(:convex_http_sink, base_url: "http://127.0.0.1:1", admin_key: "a|b")
    assert {:unknown, said} = Preflight.run()
    assert said =~ "UNKNOWN  Convex: not sent"
    assert capture_io(fn -> assert catch_exit(run.()) == {:shutdown, 4} end) =~ "UNKNOWN"

    configure(:convex_http_sink, base_url: "ftp://x", admin_key: "a|b")
    assert {:invalid, said} = Preflight.run()
    assert said =~ "base_url"
  end
end
