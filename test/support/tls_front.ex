defmodule TlsFront do
  @moduledoc """
  A TLS server on a free port of loopback that hands every connection on to a plain HTTP server, and
  the certificates it shows, made on the spot by OTP's `public_key:pkix_test_data/1`.
  """
  import ExUnit.Callbacks, only: [on_exit: 1]

  defstruct [:port, :pid]

  @doc """
  A chain root -> intermediate -> peer as `%{cert, key, intermediates, root, stranger}`, all DER; the
  stranger is a root that has issued none of them. Options:
  `host` in the peer's subjectAltName (default "localhost"), `validity` of the peer as `{from, to}` in
  `{year, month, day}` (default: today and a week).
  """
  def chain(options \\ []) do
    names = {:Extension, {2, 5, 29, 17}, false, [dNSName: ~c"#{Keyword.get(options, :host, "localhost")}"]}
    validity = Keyword.take(options, [:validity])
    peer = [{:extensions, [names]}, {:key, {:rsa, 2048, 65_537}}, {:digest, :sha256} | validity]
    authority = [key: {:rsa, 2048, 65_537}, digest: :sha256]

    %{server_config: server, client_config: client} =
      :public_key.pkix_test_data(%{
        server_chain: %{root: authority, intermediates: [authority], peer: peer},
        client_chain: %{root: authority, intermediates: [], peer: authority}
      })

    # What is self-signed among the authorities is a root; the client trusts the server's alone.
    [root] = client[:cacerts] |> Enum.filter(&issued?(&1, intermediate(server)))
    [stranger] = server[:cacerts] |> Enum.filter(&:public_key.pkix_is_self_signed/1) |> Enum.reject(&(&1 == root))
    %{cert: server[:cert], key: server[:key], intermediates: [intermediate(server)], root: root, stranger: stranger}
  end

  defp intermediate(server) do
    Enum.find(server[:cacerts], &(issued?(&1, server[:cert]) and not :public_key.pkix_is_self_signed(&1)))
  end

  defp issued?(authority, cert), do: :public_key.pkix_is_issuer(cert, authority)

  @doc "Write certificates as a PEM file, in one step."
  def write_pem(path, ders) do
    File.write!(path <> ".new", :public_key.pem_encode(for der <- ders, do: {:Certificate, der, :not_encrypted}))
    File.rename!(path <> ".new", path)
  end

  @doc """
  Serve `chain` on a free port until the test ends; connections go on to `url` (http://host:port). The
  caller hears `{:tls_front, :request}` whenever a client sends something.
  """
  def start(chain, url) do
    test = self()
    {:ok, _} = Application.ensure_all_started(:ssl)
    to = URI.parse(url)

    {:ok, listener} =
      :ssl.listen(0,
        ip: {127, 0, 0, 1},
        active: false,
        mode: :binary,
        reuseaddr: true,
        log_level: :none,
        certs_keys: [%{cert: [chain.cert | chain.intermediates], key: chain.key}]
      )

    {:ok, {_, port}} = :ssl.sockname(listener)
    pid = spawn(fn -> accept(listener, to, test) end)
    :ssl.controlling_process(listener, pid)
    on_exit(fn -> Process.exit(pid, :kill) end)
    %__MODULE__{port: port, pid: pid}
  end

  defp accept(listener, to, test) do
    with {:ok, socket} <- :ssl.transport_accept(listener) do
      handler = spawn(fn -> receive(do: (:yours -> serve(socket, to, test))) end)
      :ssl.controlling_process(socket, handler)
      send(handler, :yours)
    end

    accept(listener, to, test)
  end

  defp serve(socket, to, test) do
    with {:ok, tls} <- :ssl.handshake(socket, 5000),
         {:ok, plain} <- :gen_tcp.connect(~c"#{to.host}", to.port, [:binary, active: true]) do
      :ok = :ssl.setopts(tls, active: true)
      hand_on(tls, plain, test)
    end
  end

  defp hand_on(tls, plain, test) do
    receive do
      {:ssl, ^tls, data} -> send(test, {:tls_front, :request}) && :gen_tcp.send(plain, data)
      {:tcp, ^plain, data} -> :ssl.send(tls, data)
      {closed, _} when closed in [:ssl_closed, :tcp_closed] -> exit(:normal)
      {error, _, _} when error in [:ssl_error, :tcp_error] -> exit(:normal)
    end

    hand_on(tls, plain, test)
  end
end
