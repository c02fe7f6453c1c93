defmodule FaultsTest do
  @moduledoc """
  One fault at a time, against the real program: what it does, what an operator sees, how it recovers.
  The table in docs/FAULTS.md names these tests.
  """
  use SidecarCase, async: false

  @moduletag timeout: 60_000
  @run "runtime/run_summary:"
  @t ~U[2026-02-19 20:00:00.123456Z]

  setup_all do
    %{standin: Standin.start()}
  end

  setup context do
    Standin.reset(context.standin)
    Standin.config(context.standin, ~s({"latency":"0"}))
    %{dir: tmp_dir()}
  end

  # A managed instance against the stand-in; sections of `config` are merged over the usual ones.
  defp start(c, config \\ []) do
    sink = Keyword.merge(Standin.sink(c.standin), Keyword.get(config, :sink, []))
    delivery = Keyword.merge([probe_ms: 60_000, backoff_min_ms: 10, backoff_max_ms: 100], Keyword.get(config, :delivery, []))
    config = Keyword.merge(config, sink: Enum.reject(sink, &(elem(&1, 1) == nil)), delivery: delivery)
    node = :"f#{unique()}_#{System.pid()}@127.0.0.1"
    name = start_instance(name: unique_name(), node: node, store_dir: store(c), config: config, backoff_min_ms: 20, drain_ms: 1000)
    :ok = :convex_sidecar.await(name, 10_000)
    Map.put(c, :name, name)
  end

  defp store(c), do: Path.join(c.dir, "store")
  defp event(seq), do: %{seq: seq, event_type: "run.delta", inserted_at: @t}
  defp project(c, id, seq, opts \\ %{}), do: :convex_sidecar.project(c.name, :run_summary, id, %{status: "s#{seq}"}, [event(seq)], opts)

  defp project_large(c, id, bytes),
    do: :convex_sidecar.project(c.name, :run_summary, id, %{terminal_reason: String.duplicate("x", bytes)}, [event(1)])

  defp flush(c), do: :convex_sidecar.flush(c.name, 20_000)
  defp status(c), do: with({:ok, s} <- :convex_sidecar.status(c.name), do: s)
  defp standing(c), do: c.standin |> Standin.documents() |> Map.keys() |> Enum.sort() |> Enum.map(&String.replace_prefix(&1, @run, ""))
  defp pid(c), do: status(c).pid
  defp signal(c, name), do: {_, 0} = System.cmd("kill", ["-#{name}", "#{pid(c)}"])

  # To its process a full disk and a file that must not grow look alike.
  defp disk(pid, bytes), do: {_, 0} = System.cmd("prlimit", ["--pid", "#{pid}", "--fsize=#{bytes}:"])

  # The program alone, with its configuration on standard input; {what it said, exit status}.
  defp run_alone(c, ini) do
    port =
      Port.open({:spawn_executable, Application.app_dir(:convex_sidecar, "priv/convex_sidecar")}, [
        :binary,
        :exit_status,
        :stderr_to_stdout,
        args: ["run", "--managed"]
      ])

    {:os_pid, os_pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-9", "#{os_pid}"], stderr_to_stdout: true) end)
    Port.command(port, "[node]\nname = alone#{unique()}@127.0.0.1\ncookie = c\n[store]\ndir = #{store(c)}\n#{ini}\n.\n")
    said(port, "")
  end

  defp said(port, text) do
    receive do
      {^port, {:data, more}} -> said(port, text <> more)
      {^port, {:exit_status, status}} -> {text, status}
    after
      10_000 -> flunk("it did not end; it said #{text}")
    end
  end

  # The table is for operators; it is worth what its last column is worth.
  test "every test that docs/FAULTS.md names exists" do
    assert named_tests("FAULTS.md") >= 100
    assert named_tests("adr/0012-judgement.md") >= 20
  end

  # A row's last cell: "`file` name", several with <br> between them; a lone "-" is a row without a test.
  defp named_tests(page) do
    text = File.read!(Path.expand("../docs/#{page}", __DIR__))
    cells = Regex.scan(~r/\| (`[\w\/]+\.(?:exs|c)` [^|]+) \|$/m, text, capture: :all_but_first) |> List.flatten()

    tests =
      for cell <- cells, test <- String.split(cell, "<br>") do
        [file, name] = Regex.run(~r/^`([\w\/]+\.(?:exs|c))` (.+)$/, test, capture: :all_but_first)
        {path, text} = if file =~ ~r/\.c$/, do: {"unit/#{file}", "TEST(#{name})"}, else: {file, "test \"#{name}\""}
        assert String.contains?(File.read!(Path.expand(path, __DIR__)), text), "#{page}: #{file} has no #{name}"
      end

    length(tests)
  end

  describe "the disk" do
    test "full: nothing is promised, status says so, and it recovers by itself", c do
      c = start(c)
      assert {:ok, _} = project(c, "before", 1)
      assert {:ok, _} = flush(c)
      pid = pid(c)
      disk(pid, 0)
      assert {:error, {:store, why}} = project(c, "during", 1)
      assert why =~ "File too large"
      assert status(c).metrics.store_ok == 0
      disk(pid, "unlimited")
      wait_until(fn -> status(c).metrics.store_ok == 1 end)
      assert {:error, :not_found} = :convex_sidecar.checkpoint(c.name, @run <> "during")
      assert {:ok, _} = project(c, "during", 1)
      assert {:ok, _} = flush(c)
      assert standing(c) == ["before", "during"]
      assert pid(c) == pid
    end

    test "full while delivering: verdicts wait, nothing is forgotten, nothing is sent for ever", c do
      c = start(c, delivery: [min_interval_ms: 0])
      Standin.config(c.standin, ~s({"latency":"50"}))
      pid = pid(c)
      for i <- 1..300, do: {:ok, _} = project(c, "w#{i}", 1)

      for _ <- 1..5 do
        Standin.faults(c.standin, ~s({"kind":"occ","times":2}))
        disk(pid, 0)
        Process.sleep(30)
        disk(pid, "unlimited")
        Process.sleep(30)
      end

      Standin.clear_faults(c.standin)
      assert {:ok, %{pending: 0}} = flush(c)
      assert length(standing(c)) == 300
      assert pid(c) == pid
    end

    test "the store's limit: what is new is refused, delivery makes room", c do
      c = start(c, store: [limit_bytes: "1m"])
      {:ok, :paused} = :convex_sidecar.pause(c.name)
      results = for i <- 1..12, do: project_large(c, "l#{i}", 100_000)
      kept = Enum.count(results, &match?({:ok, _}, &1))
      assert kept in 8..10
      assert {:error, {:store, _}} = List.last(results)
      {:ok, :running} = :convex_sidecar.resume(c.name)
      assert {:ok, %{pending: 0}} = flush(c)
      assert {:ok, _} = project_large(c, "l12", 100_000)
      assert {:ok, _} = flush(c)
      assert length(standing(c)) == kept + 1
    end

    test "a second sidecar on the same store does not start, and names the first", c do
      c = start(c)
      assert {text, 1} = run_alone(c, "")
      assert text =~ "in use by process #{pid(c)}"
      assert {:ok, _} = project(c, "still", 1)
    end

    test "a store of a newer format is refused and left as it is", c do
      c = start(c)
      assert {:ok, _} = project(c, "old", 1)
      assert {:ok, _} = flush(c)
      stop_supervised!(c.name)
      file = Path.join(store(c), "data.mdb")
      newer = file |> File.read!() |> String.replace("convex-sidecar outbox 2", "convex-sidecar outbox 9")
      File.write!(file, newer)
      assert {text, 1} = run_alone(c, "")
      assert text =~ "format 9 is of a newer sidecar"
      assert File.read!(file) == newer
    end
  end

  describe "Convex says no" do
    test "a read-only key stops delivery and discards nothing", c do
      c = start(c, sink: [admin_key: c.standin.read_only_key])
      assert {:ok, _} = project(c, "r", 1)
      wait_until(fn -> status(c).state == "stopped" end)
      assert status(c).why =~ ~r/read-only|permission/
      assert %{pending: 1, dead_letters: 0} = status(c).metrics
      assert standing(c) == []
    end

    test "functions that are missing stop delivery; deployed, everything goes", c do
      c = start(c, sink: [batch_mutation: "runtime:notDeployed"])
      for i <- 1..20, do: {:ok, _} = project(c, "m#{i}", 1)
      wait_until(fn -> status(c).state == "stopped" end)
      assert status(c).why =~ "Could not find public function"
      assert %{pending: 20, dead_letters: 0} = status(c).metrics
      stop_supervised!(c.name)
      c = start(c)
      assert {:ok, %{pending: 0}} = flush(c)
      assert length(standing(c)) == 20
    end

    test "a deployment that is paused stops delivery, and is noticed when it goes on", c do
      Standin.faults(c.standin, ~s({"kind":"paused","times":0}))
      c = start(c, delivery: [probe_ms: 100])
      for i <- 1..10, do: {:ok, _} = project(c, "p#{i}", 1)
      wait_until(fn -> status(c).state == "stopped" end)
      assert status(c).why =~ "paused"
      assert %{pending: 10, dead_letters: 0} = status(c).metrics
      Standin.clear_faults(c.standin)
      assert {:ok, %{pending: 0}} = flush(c)
      assert length(standing(c)) == 10
      assert status(c).state == "running"
    end

    # Finding A7: what the text says must decide nothing.
    test "whatever a deployment says for all that it is asked, no document dies of it", c do
      c = start(c, delivery: [probe_ms: 100, backoff_max_ms: 200])
      slow = "Your request timed out performing too many system operations."
      {:ok, _} = project(c, "before", 1)
      assert {:ok, %{pending: 0}} = flush(c)

      for {fault, n} <-
            Enum.with_index([
              ~s({"kind":"paused"),
              ~s({"kind":"suspended"),
              ~s({"kind":"disabled"),
              ~s({"kind":"disabled_paid"),
              ~s({"kind":"usage_limit"),
              ~s({"kind":"not_deployed"),
              ~s({"kind":"says","message":"#{slow}"),
              ~s({"kind":"says","message":"Server Error"),
              ~s({"kind":"status","status":403),
              ~s({"kind":"status","status":421)
            ]) do
        Standin.faults(c.standin, fault <> ~s(,"times":0,"match":{"path":"*"}}))
        for i <- 1..10, do: {:ok, _} = project(c, "said#{n}_#{i}", 1)
        wait_until(fn -> status(c).state in ["stopped", "waiting"] end)
        Standin.clear_faults(c.standin)
        assert {:ok, %{pending: 0}} = flush(c)
        assert status(c).metrics.dead_letters == 0, fault
      end

      assert length(standing(c)) == 101
    end

    test "a redirect is not followed: the key goes nowhere else", c do
      {url, hits} = redirecting_to(c.standin.url)
      c = start(c, sink: [base_url: url])
      assert {:ok, _} = project(c, "red", 1)
      wait_until(fn -> status(c).state == "stopped" end)
      assert status(c).why =~ "redirect"
      assert :counters.get(hits, 1) > 0
      assert Standin.stat(c.standin, "commits") == 0
      assert status(c).metrics.pending == 1
    end

    test "a SIGHUP before the configuration was read does not end it" do
      script = ~S"""
      mkfifo "$2/in" && { "$1" run --managed <"$2/in" >"$2/out" 2>&1 & } && pid=$! && exec 3>"$2/in" || exit 99
      tries=0
      until grep -q '^SigIgn:.*[13579bdf]$' /proc/$pid/status; do
        tries=$((tries + 1)); [ $tries -lt 1000 ] || { kill -9 $pid; exit 98; }
        sleep 0.01
      done
      kill -HUP $pid
      printf 'this is no configuration\n.\n' >&3
      exec 3>&-
      wait $pid
      """

      dir = tmp_dir()
      {_, status} = System.cmd("sh", ["-c", script, "sh", Application.app_dir(:convex_sidecar, "priv/convex_sidecar"), dir])
      assert {status, File.read!(Path.join(dir, "out")) =~ "config.invalid"} == {2, true}
    end

    test "a key rotated in its file counts from SIGHUP on", c do
      file = Path.join(c.dir, "key")
      File.write!(file, "wrong|key\n")
      File.chmod!(file, 0o600)
      c = start(c, sink: [admin_key: nil, admin_key_file: file])
      assert {:ok, _} = project(c, "k", 1)
      wait_until(fn -> status(c).state == "stopped" end)
      File.write!(file, c.standin.admin_key <> "\n")
      signal(c, "HUP")
      assert {:ok, %{pending: 0}} = flush(c)
      assert standing(c) == ["k"]
      assert status(c).state == "running"
    end

    test "more dead letters than allowed: the others stay pending, loudly", c do
      c = start(c, store: [dead_letters: 1])
      watch_log()
      assert {:ok, _} = project(c, "good", 1, %{ack: :written})

      for id <- ~w(a b),
          do: Standin.faults(c.standin, ~s({"kind":"function_error","message":"no","times":0,"match":{"document_id":"#{@run}#{id}"}}))

      for id <- ~w(a b), do: {:ok, _} = project(c, id, 1)
      assert_receive {:log, :error, %{event: "outbox.dead_letters_full"}, _}, 10_000
      wait_until(fn -> match?(%{pending: 1, dead_letters: 1}, status(c).metrics) end)
      Standin.clear_faults(c.standin)
      assert {:ok, %{pending: 0}} = flush(c)
      assert {:ok, %{retried: 1}} = :convex_sidecar.dead_retry(c.name, :all)
      assert {:ok, %{pending: 0}} = flush(c)
      assert standing(c) == ~w(a b good)
    end
  end

  describe "what an older sidecar kept, and nobody can send" do
    # 0.1.0 took a clear of any bytes, and one after the end of the year 9999; it aborted at each start with them.
    test "a bad id and a bad time become dead letters, the rest is delivered", c do
      c = start(c)
      {:ok, _} = :convex_sidecar.pause(c.name)
      far = ~U[9000-01-01 00:00:00.000000Z]
      {:ok, _} = project(c, "first", 1)
      {:ok, _} = :convex_sidecar.clear(c.name, @run <> "zz~~")
      {:ok, _} = project(c, "late", 1, %{now: far})
      {:ok, _} = :convex_sidecar.clear(c.name, @run <> "late")
      {:ok, _} = project(c, "last", 1)
      :ok = stop_supervised(c.name)
      assert {_, 0} = word(c, ~w(store migrate --to 1))
      late = DateTime.to_unix(far, :microsecond) + 1
      max = DateTime.to_unix(~U[9999-12-31 23:59:59.999999Z], :microsecond)
      assert rewrite(c, @run <> "zz~~", @run <> <<"zz", 0xFF, 0xFE>>) > 0
      assert rewrite(c, <<late::64>>, <<max + 1::64>>) > 0
      assert {said, 0} = word(c, ["store", "check"])
      assert said =~ ~S|zz\xff\xfe: it cannot be sent (document_id is not UTF-8: byte 22 is 0xff)|
      assert said =~ "sound, but 2 pending will be dead letters"
      assert said =~ "late: it cannot be sent (projected_at is not in the years 1970 to 9999)"

      c = start(c)
      assert {:ok, %{pending: 0}} = flush(c)
      assert standing(c) == ~w(first last)

      assert {:ok, [%{document_id: @run <> "late", why: late_why}, %{document_id: @run <> <<"zz", 0xFF, 0xFE>> = bad, why: bad_why}]} =
               :convex_sidecar.dead_list(c.name)

      assert late_why =~ "its projected_at is not in the years 1970 to 9999"
      assert bad_why =~ "its document_id is not UTF-8: byte 22 is 0xff" and bad_why =~ "drop this letter"
      assert {json, 0} = word(c, ["dead", "list", "--json"])
      assert String.valid?(json) and json =~ ~S|zz\\xff\\xfe|

      assert {:error, {:invalid, "document_id", _}} = :convex_sidecar.dead_retry(c.name, bad)
      assert {:ok, %{retried: 0, refused: 2}} = :convex_sidecar.dead_retry(c.name, :all)
      assert {:ok, %{cleared: 2, refused: 2}} = :convex_sidecar.clear(c.name, :all)
      assert {:error, {:invalid, "projected_at", _}} = project(c, "late", 1)
      assert {:ok, %{dropped: 1}} = :convex_sidecar.dead_drop(c.name, bad)
      assert {:ok, %{pending: 0}} = flush(c)
      assert standing(c) == []
      :ok = stop_supervised(c.name)
      assert {_, 0} = word(c, ["store", "check"])
    end

    # In the file of a sidecar that does not run; how often it stood there.
    defp rewrite(c, old, new) when byte_size(old) == byte_size(new) do
      file = Path.join(store(c), "data.mdb")
      bytes = File.read!(file)
      File.write!(file, :binary.replace(bytes, old, new, [:global]))
      length(:binary.matches(bytes, old))
    end

    defp word(c, words),
      do: System.cmd(Application.app_dir(:convex_sidecar, "priv/convex_sidecar"), words ++ ["--store", store(c)], stderr_to_stdout: true)
  end

  describe "Convex is slow, or odd" do
    test "Retry-After is waited for", c do
      Standin.faults(c.standin, ~s({"kind":"retry_after","seconds":1}))
      c = start(c)
      t0 = System.monotonic_time(:millisecond)
      assert {:ok, _} = project(c, "ra", 1, %{ack: :written})
      assert System.monotonic_time(:millisecond) - t0 >= 1000
    end

    test "no answer at all: after the timeout it is sent again, and stands once", c do
      Standin.faults(c.standin, ~s({"kind":"hang"}))
      c = start(c, sink: [request_timeout_ms: 200])
      assert {:ok, _} = project(c, "h", 1, %{ack: :written})
      assert Standin.stat(c.standin, "hang") == 1
      assert Standin.stat(c.standin, "commits") >= 2
      assert Standin.stat(c.standin, "documentsWritten") == 1
      assert status(c).metrics.retried_total == 1
    end

    test "an answer over the bound is not read; smaller calls get through", c do
      c = start(c, sink: [max_answer_bytes: 4096, batch_documents: 512])
      {:ok, :paused} = :convex_sidecar.pause(c.name)
      {:ok, replies} = :convex_sidecar.batch(c.name, for(i <- 1..200, do: {:project, :run_summary, "b#{i}", %{}, [event(1)], %{}}))
      assert Enum.all?(replies, &match?({:ok, _}, &1))
      {:ok, :running} = :convex_sidecar.resume(c.name)
      assert {:ok, %{pending: 0}} = flush(c)
      assert length(standing(c)) == 200
      assert {:ok, []} = :convex_sidecar.dead_list(c.name)
    end

    test "cut off and back: connections are made anew, what was heard by nobody stands once", c do
      c = start(c)
      Standin.config(c.standin, ~s({"latency":"100"}))
      for i <- 1..20, do: {:ok, _} = project(c, "a#{i}", 1)
      Standin.away(c.standin, 300)
      assert {:ok, %{pending: 0}} = flush(c)
      assert length(standing(c)) == 20
      assert Standin.stat(c.standin, "documentsWritten") == 20
    end
  end

  describe "stop and start" do
    test "SIGTERM finishes what is in flight and ends with status 0", c do
      c = start(c)
      Standin.config(c.standin, ~s({"latency":"300"}))
      watch_log()
      assert {:ok, _} = project(c, "t", 1)
      wait_until(fn -> status(c).metrics.calls_in_flight == 1 end)
      signal(c, "TERM")
      assert_receive {:log, :info, %{event: "sidecar.stopped"}, text}, 5000
      assert text =~ "pending=0"
      assert_receive {:log, _, %{event: "sidecar.ended"}, ended}, 5000
      assert ended =~ "status=0"
      assert standing(c) == ["t"]
    end

    test "core files are shut out before the configuration is read" do
      program = Application.app_dir(:convex_sidecar, "priv/convex_sidecar")
      args = ["-c", "ulimit -S -c $(ulimit -H -c); exec \"$0\" run --managed", program]
      port = Port.open({:spawn_executable, "/bin/sh"}, [:binary, args: args])
      {:os_pid, pid} = Port.info(port, :os_pid)
      on_exit(fn -> System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true) end)
      # It waits for its configuration on standard input.
      wait_until(fn -> File.read!("/proc/#{pid}/limits") =~ ~r/Max core file size +0 +0 / end)
      wait_until(fn -> File.read!("/proc/#{pid}/comm") =~ "convex_sidecar" end)
    end

    test "many pending documents do not hold up the start", c do
      c = start(c)
      {:ok, :paused} = :convex_sidecar.pause(c.name)

      for part <- 1..2,
          do:
            {:ok, _} =
              :convex_sidecar.batch(c.name, for(i <- 1..10_000, do: {:project, :run_summary, "#{part}-#{i}", %{}, [event(1)], %{}}), 30_000)

      assert status(c).metrics.pending == 20_000
      Standin.faults(c.standin, ~s({"kind":"occ","times":0}))
      old = pid(c)
      t0 = System.monotonic_time(:millisecond)
      signal(c, "KILL")
      wait_until(fn -> match?(%{pid: new, metrics: %{pending: 20_000}} when new != old, status(c)) end, 10_000)
      assert System.monotonic_time(:millisecond) - t0 < 2000
    end

    test "killed before it could answer: the caller hears it at once, and nothing was promised", c do
      c = start(c)
      signal(c, "STOP")
      caller = Task.async(fn -> project(c, "gone", 1) end)
      {:ok, os_pid} = {:ok, :convex_sidecar_port.os_pid(c.name)}
      System.cmd("kill", ["-9", "#{os_pid}"])
      assert Task.await(caller) == {:error, :unavailable}
      wait_until(fn -> match?(%{pid: new} when new != os_pid, status(c)) end, 10_000)
      assert {:error, :not_found} = :convex_sidecar.checkpoint(c.name, @run <> "gone")
    end
  end

  # An HTTP server that sends everybody elsewhere; {its URL, how often it was asked}.
  defp redirecting_to(url) do
    {:ok, listener} = :gen_tcp.listen(0, [:binary, ip: {127, 0, 0, 1}, active: false, reuseaddr: true])
    {:ok, port} = :inet.port(listener)
    hits = :counters.new(1, [])
    start_supervised!({Task, fn -> redirect(listener, url, hits) end})
    {"http://127.0.0.1:#{port}", hits}
  end

  defp redirect(listener, url, hits) do
    {:ok, socket} = :gen_tcp.accept(listener)
    {:ok, request} = :gen_tcp.recv(socket, 0, 5000)
    [_method, path | _] = String.split(request, " ")
    :counters.add(hits, 1, 1)
    :gen_tcp.send(socket, "HTTP/1.1 307 Temporary Redirect\r\nLocation: #{url}#{path}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    :gen_tcp.close(socket)
    redirect(listener, url, hits)
  end
end
