defmodule Standin do
  @moduledoc """
  A Convex stand-in (test/convex) for one test: started on a free port of loopback, ended with the
  test; its faults, its counters, and the documents as Convex's own client reads them.
  """
  import ExUnit.Callbacks, only: [on_exit: 1]

  @root Path.expand("../convex", __DIR__)

  defstruct [:url, :admin_key, :read_only_key, :state, :pid, :port]

  @doc "Start one for the test and wait until it is ready; `env` are its knobs (server.mjs --help)."
  def start(env \\ []) do
    standin = launch(env)
    on_exit(fn -> remove(standin) end)
    standin
  end

  @doc "The same without a test; ended with remove/1."
  def launch(env \\ []) do
    state = Path.join(System.tmp_dir!(), "standin_#{System.pid()}_#{System.unique_integer([:positive])}")
    File.mkdir_p!(state)
    build = ".build/#{Path.basename(state)}"
    port = spawn_server(state, build, [{"PORT", "0"} | env])
    {:os_pid, pid} = Port.info(port, :os_pid)
    ready(port, state, pid)
  end

  @doc "End it for good, and what it left on disk."
  def remove(standin) do
    System.cmd("kill", ["-9", "#{standin.pid}"], stderr_to_stdout: true)
    File.rm_rf!(standin.state)
    File.rm_rf!(Path.join(@root, ".build/#{Path.basename(standin.state)}"))
  end

  @doc "End it, as a deployment that is away; start_again brings it back at the same address, empty."
  def stop(standin) do
    {_, 0} = System.cmd("kill", ["-9", "#{standin.pid}"])
    port = standin.port

    receive do
      {^port, {:exit_status, _}} -> :ok
    end
  end

  @doc "Start it anew after stop: same address, same keys, no documents."
  def start_again(standin) do
    build = ".build/#{Path.basename(standin.state)}"
    port = spawn_server(standin.state, build, [{"PORT", "#{URI.parse(standin.url).port}"}])
    {:os_pid, pid} = Port.info(port, :os_pid)
    on_exit(fn -> System.cmd("kill", ["-9", "#{pid}"], stderr_to_stdout: true) end)
    ready(port, standin.state, pid)
  end

  defp spawn_server(state, build, env) do
    env = [{"STANDIN_STATE", state}, {"STANDIN_BUILD", build}, {"STANDIN_LIFELINE", "1"}] ++ env

    Port.open({:spawn_executable, System.find_executable("node")}, [
      :binary,
      :exit_status,
      line: 10_000,
      args: [Path.join(@root, "server.mjs")],
      env: for({k, v} <- env, do: {String.to_charlist(k), String.to_charlist(v)})
    ])
  end

  defp ready(port, state, pid) do
    receive do
      {^port, {:data, {:eol, "READY " <> info}}} ->
        %__MODULE__{
          url: field(info, "url"),
          admin_key: field(info, "admin_key"),
          read_only_key: field(info, "read_only_key"),
          state: state,
          pid: pid,
          port: port
        }

      {^port, {:data, _}} ->
        ready(port, state, pid)

      {^port, {:exit_status, status}} ->
        raise "the stand-in ended with status #{status}"
    after
      30_000 -> raise "the stand-in is not ready after 30 s"
    end
  end

  defp field(json, name) do
    [value] = Regex.run(~r/"#{name}":"([^"]*)"/, json, capture: :all_but_first)
    value
  end

  @doc "The [sink] section that leads to it."
  def sink(standin, more \\ []),
    do: [type: :http, base_url: standin.url, admin_key: standin.admin_key] ++ more

  @doc "Every document that stands, as `%{document_id => canonical JSON}`, read by ConvexHttpClient."
  def documents(standin, kinds \\ []) do
    {out, 0} = System.cmd("node", [Path.join(@root, "read.mjs") | kinds], env: [{"STANDIN_STATE", standin.state}])
    for line <- String.split(out, "\n", trim: true), into: %{}, do: line |> String.split("\t") |> List.to_tuple()
  end

  @doc "Inject faults: the JSON text that README.md of test/convex describes."
  def faults(standin, json), do: request(standin, :post, "faults", json)
  def clear_faults(standin), do: request(standin, :delete, "faults", "")
  @doc "As new: no documents, no faults, counters at zero."
  def reset(standin), do: request(standin, :post, "reset", "")
  def config(standin, json), do: request(standin, :post, "config", json)

  @doc "The documents that are not what kinds.ts says of their kind, as JSON."
  def misfits(standin), do: request(standin, :get, "misfits", "")

  @doc "A token of the user whose id is `sub`."
  def token(standin, sub), do: standin |> request(:post, "jwt", ~s({"sub":"#{sub}"})) |> field("token")

  @doc "Functions of version 1 or 2 over the rows that stand."
  def deploy(standin, version) do
    [n] = Regex.run(~r/"functions":(\d+)/, request(standin, :post, "deploy", ~s({"functions":#{version}})), capture: :all_but_first)
    %{"functions" => String.to_integer(n)}
  end

  @doc "A deployment made anew: its table is empty, and nobody was told."
  def wipe(standin), do: request(standin, :post, "wipe", "")

  @doc "Its table is remembered."
  def snapshot(standin), do: request(standin, :post, "snapshot", "")
  @doc "Its table is as it was when it was remembered, or empty; nobody is told."
  def restore(standin), do: request(standin, :post, "restore", "")

  @doc "A mutation by hand, as with `npx convex run`."
  def mutation(standin, path, args) do
    body = ~s({"path":"#{path}","format":"json","args":#{args}})
    headers = [{~c"authorization", String.to_charlist("Convex " <> standin.admin_key)}]
    url = String.to_charlist(standin.url <> "/api/mutation")
    {:ok, {{_, 200, _}, _, answer}} = :httpc.request(:post, {url, headers, ~c"application/json", body}, [], body_format: :binary)
    answer
  end

  @doc "A number of /__standin/stats."
  def stat(standin, name) do
    [n] = Regex.run(~r/"#{name}":(\d+)/, request(standin, :get, "stats", ""), capture: :all_but_first)
    String.to_integer(n)
  end

  @doc "Away for `ms`: connections are cut (what is under way commits unheard), new ones refused."
  def away(standin, ms), do: request(standin, :post, "away", ~s({"ms":#{ms}}))

  @doc """
  The commits after the first `after_count`, in order, each as
  `%{id: document_id, seq: n, at: projected_at, hash: content_hash, removed: removed?}`.
  """
  def commits(standin, after_count) do
    text = request(standin, :get, "history?after=#{after_count}", "")

    for [id, seq, at, hash, removed] <-
          Regex.scan(
            ~r/"document_id":"([^"]*)","seq":(\d+),"projected_at":"([^"]*)","content_hash":(null|"[^"]*"),"removed":(true|false)/,
            text,
            capture: :all_but_first
          ),
        do: %{id: id, seq: String.to_integer(seq), at: at, hash: String.trim(hash, "\""), removed: removed == "true"}
  end

  @doc "All versions that were committed, in order: `[{document_id, seq, projected_at, removed?}]`."
  def history(standin) do
    text = request(standin, :get, "history", "")

    for [id, seq, at, removed] <-
          Regex.scan(~r/"document_id":"([^"]*)","seq":(\d+),"projected_at":"([^"]*)".*"removed":(true|false)/, text, capture: :all_but_first),
        do: {id, String.to_integer(seq), at, removed == "true"}
  end

  defp request(standin, method, path, body) do
    url = String.to_charlist("#{standin.url}/__standin/#{path}")
    request = if method == :post, do: {url, [], ~c"application/json", body}, else: {url, []}
    {:ok, _} = Application.ensure_all_started(:inets)
    {:ok, {{_, 200, _}, _, answer}} = :httpc.request(method, request, [timeout: 30_000], body_format: :binary)
    answer
  end
end
