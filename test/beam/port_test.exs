defmodule ConvexSidecar.PortTest do
  # Each program of test/support/fake_program is a fault with a name.
  use SidecarCase, async: true

  defp starts(dir) do
    case File.read(Path.join(dir, "starts")) do
      {:ok, text} -> text |> String.split() |> Enum.map(&String.to_integer/1)
      {:error, :enoent} -> []
    end
  end

  defp up(name), do: :ok = :convex_sidecar.await(name, 10_000)
  defp os_pid(name), do: :convex_sidecar_port.os_pid(name)

  defp end_program(name) do
    pid = os_pid(name)
    :ok = stop_supervised(name)
    wait_until(fn -> not alive?(pid) end)
    pid
  end

  test "a program that is ready brings the instance up; it gets its configuration and a cookie" do
    not_its = ~w(CONVEX_SIDECAR_SINK_TYPE NOTIFY_SOCKET WATCHDOG_USEC WATCHDOG_PID)
    for variable <- not_its, do: System.put_env(variable, "file")
    {name, dir} = start_program(:ok, store_dir: "/some/store", drain_ms: 300)
    up(name)
    Enum.each(not_its, &System.delete_env/1)

    [pid] = starts(dir)
    assert os_pid(name) == pid
    config = File.read!(Path.join(dir, "config.#{pid}"))
    assert config =~ "[store]\ndir = /some/store\n"
    assert config =~ "[delivery]\ndrain_ms = 300\n"
    assert config =~ "name = #{node()}\n"
    assert config =~ ~r/cookie = [0-9A-F]{48}\n/
    for variable <- not_its, do: refute(File.read!(Path.join(dir, "env")) =~ variable)
    end_program(name)
  end

  test "start-up is not held up by a program that is never ready; it is killed and tried again" do
    watch_log()

    {us, {name, dir}} = :timer.tc(fn -> start_program(:never_ready, start_ms: 200, backoff_min_ms: 20) end)

    assert us < 150_000
    assert :convex_sidecar.status(name) == {:error, :unavailable}
    assert_receive {:log, :error, %{event: "sidecar.not_ready"}, _}, 5000
    wait_until(fn -> length(starts(dir)) >= 2 end)
    wait_until(fn -> not alive?(hd(starts(dir))) end)
    end_program(name)
  end

  test "a program that says that it migrates its store has more than start_ms" do
    watch_log()
    {name, dir} = start_program(:migrating, start_ms: 250)
    assert_receive {:log, :debug, %{event: "sidecar.ready", instance: ^name}, _}, 5000
    assert [_] = starts(dir)
    end_program(name)
  end

  test "a program that crashes is started again, after pauses that double; its last words are logged" do
    watch_log()
    {name, dir} = start_program(:crash, backoff_min_ms: 40, backoff_max_ms: 10_000)
    t0 = System.monotonic_time(:millisecond)
    assert_receive {:log, :error, %{event: "sidecar.exited"}, text}, 5000
    assert text =~ "status=3"
    assert text =~ "disk full"
    wait_until(fn -> length(starts(dir)) == 4 end)
    # 40 + 80 + 160
    assert System.monotonic_time(:millisecond) - t0 >= 200
    # One cookie for all of them: atoms are never freed.
    cookies =
      for pid <- starts(dir),
          do: File.read!(Path.join(dir, "config.#{pid}")) =~ "cookie" && cookie(dir, pid)

    assert length(Enum.uniq(cookies)) <= 2
    stop_supervised!(name)
  end

  defp cookie(dir, pid) do
    [_, cookie] = Regex.run(~r/cookie = (\w+)/, File.read!(Path.join(dir, "config.#{pid}")))
    cookie
  end

  test "crashing after it was ready is the same" do
    watch_log()
    {name, dir} = start_program(:crash_ready, backoff_min_ms: 20)
    assert_receive {:log, :error, %{event: "sidecar.exited"}, text}, 5000
    assert text =~ "status=4"
    wait_until(fn -> length(starts(dir)) >= 2 end)
    stop_supervised!(name)
  end

  test "a missing program is told, and found when it comes" do
    watch_log()
    dir = tmp_dir()
    program = Path.join(dir, "program")

    name =
      start_instance(
        name: unique_name(),
        node: node(),
        program: program,
        config: [fake: [mode: :ok, fake_dir: dir]],
        backoff_min_ms: 20,
        backoff_max_ms: 40
      )

    assert_receive {:log, :error, %{event: "sidecar.not_started"}, text}, 5000
    assert text =~ "enoent"
    File.ln_s!(fake_program(), program)
    up(name)
    end_program(name)
  end

  test "a program under another name is not believed" do
    watch_log()
    {name, _dir} = start_program(:wrong_node, backoff_min_ms: 50)
    assert_receive {:log, :error, %{event: "sidecar.wrong_node"}, text}, 5000
    assert text =~ "somebody@else"
    assert :convex_sidecar.status(name) == {:error, :unavailable}
    stop_supervised!(name)
  end

  test "an end that an operator asked for (SIGTERM, status 0) is followed by a start at once" do
    {name, dir} = start_program(:ok, backoff_min_ms: 5000)
    up(name)
    System.cmd("kill", ["-TERM", "#{os_pid(name)}"])
    wait_until(fn -> length(starts(dir)) == 2 end, 2000)
    up(name)
    end_program(name)
  end

  test "restart/1 gives the gap, a new process and a new cookie" do
    {name, dir} = start_program(:ok)
    up(name)
    assert {:ok, %{gap_ms: gap}} = :convex_sidecar.restart(name)
    assert gap in 0..2000
    assert [first, second] = starts(dir)
    assert os_pid(name) == second
    refute alive?(first)
    assert cookie(dir, first) != cookie(dir, second)
    end_program(name)
  end

  test "a program for another processor is named" do
    watch_log()
    program = Path.join(tmp_dir(), "other")
    File.write!(program, <<0x7F, "ELF", 2, 1, 1, 0::72, 2::16-little, 0xFFFF::16-little, 0::352>>)
    File.chmod!(program, 0o755)
    start_instance(name: unique_name(), node: node(), program: program)
    assert_receive {:log, :error, %{event: "sidecar.exited"}, text}, 5000
    assert text =~ "could not be executed; is it made for this processor?"
  end

  # The VM sees the pipe break and hears of no exit status.
  test "a program that ends before it read its configuration is told, and tried again" do
    watch_log()
    program = Path.join(tmp_dir(), "unread")
    File.write!(program, "#!/bin/sh\nexec 0<&-\nsleep 1\n")
    File.chmod!(program, 0o755)
    # More than a pipe holds.
    config = [fake: [pad: String.duplicate("x", 300_000)]]
    start_instance(name: unique_name(), node: node(), program: program, config: config, backoff_min_ms: 20)

    for _ <- 1..2 do
      assert_receive {:log, :error, %{event: "sidecar.exited"}, text}, 5000
      assert text =~ "ended before it read its configuration"
    end
  end

  test "restart/1 of an instance that has no program" do
    name = start_instance(name: unique_name(), mode: :external, node: node())
    assert :convex_sidecar.restart(name) == {:error, :not_managed}
  end

  test "restart/1 says so when the new program does not start" do
    dir = tmp_dir()
    program = Path.join(dir, "program")
    File.ln_s!(fake_program(), program)
    config = [fake: [mode: :ok, fake_dir: dir]]
    name = start_instance(name: unique_name(), node: node(), program: program, config: config)
    up(name)
    File.rm!(program)
    assert {:error, {:not_started, :enoent}} = :convex_sidecar.restart(name)
    assert :convex_sidecar.status(name) == {:error, :unavailable}
  end

  test "a program that ignores SIGTERM is killed when its time is over" do
    watch_log()
    {name, dir} = start_program(:deaf, drain_ms: 0)
    up(name)
    assert {:ok, %{gap_ms: gap}} = :convex_sidecar.restart(name)
    assert gap >= 2000
    assert_received {:log, :warning, %{event: "sidecar.killed"}, _}
    assert [first, second] = starts(dir)
    refute alive?(first)
    assert end_program(name) == second
  end

  test "stopping the instance ends the program in order" do
    watch_log()
    {name, _dir} = start_program(:ok)
    up(name)
    end_program(name)
    assert_received {:log, :info, %{event: "sidecar.ending"}, _}
  end

  test "when the owner is killed, the pipe ends the program, and another is started" do
    {name, dir} = start_program(:ok)
    up(name)
    pid = os_pid(name)
    name |> :convex_sidecar_instance.port_name() |> Process.whereis() |> Process.exit(:kill)
    wait_until(fn -> not alive?(pid) end)
    wait_until(fn -> length(starts(dir)) == 2 end)
    up(name)
    end_program(name)
  end

  test "lines of the program become logger events of their level" do
    level = Logger.level()
    Logger.configure(level: :debug)
    watch_log()
    {name, _dir} = start_program(:chatty)

    for level <- [:debug, :info, :warning, :error] do
      event = "test.#{level}"
      text = "#{event} key=#{level}"
      assert_receive {:log, ^level, %{event: ^event, instance: ^name}, ^text}, 5000
    end

    assert_receive {:log, :warning, %{event: "no"}, "no level at all"}
    assert_receive {:log, :info, %{event: "test.long"}, long}
    assert String.ends_with?(long, "...") and String.length(long) in 4000..4200
    assert_receive {:log, :info, %{event: "test.latin1"}, "test.latin1 é"}
    end_program(name)
    Logger.configure(level: level)
  end
end
