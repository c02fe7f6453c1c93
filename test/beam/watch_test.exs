defmodule ConvexSidecar.WatchTest do
  use SidecarCase, async: true

  # A node of its own with a cookie of its own, steered over its standard input, so that
  # nothing but the watch connects to it.
  defp start_peer(cookie, name \\ :"peer_#{unique()}") do
    {:ok, peer, node} =
      :peer.start(%{
        name: name,
        host: ~c"127.0.0.1",
        longnames: true,
        connection: :standard_io,
        args: [~c"-setcookie", to_charlist(cookie), ~c"-hidden"]
      })

    {peer, node}
  end

  test "connects, sees the node go, connects again" do
    name = :"peer_#{unique()}"
    {peer, node} = start_peer("one_cookie", name)
    watch_log()
    instance = start_instance(name: unique_name(), mode: :external, node: node, cookie: :one_cookie)
    assert :convex_sidecar.await(instance, 5000) == :ok
    assert_receive {:log, :info, %{event: "node.up", instance: ^instance}, _}

    :peer.stop(peer)
    assert_receive {:log, :warning, %{event: "node.down", instance: ^instance}, _}, 5000
    assert :convex_sidecar.status(instance) == {:error, :unavailable}

    {peer, ^node} = start_peer("one_cookie", name)
    assert :convex_sidecar.await(instance, 5000) == :ok
    # Nobody is registered there: no answer, and not for long.
    assert :convex_sidecar.status(instance) == {:error, :unavailable}
    :peer.stop(peer)
  end

  test "goes on trying when nobody is there, or the cookie is wrong, and holds up nobody" do
    {peer, node} = start_peer("right_cookie")
    watch_log()
    known = :atomics.new(1, [])
    cookie = fn -> if :atomics.get(known, 1) == 0, do: :wrong_cookie, else: :right_cookie end
    wrong = start_instance(name: unique_name(), mode: :external, node: node, cookie: cookie)
    assert :convex_sidecar.await(wrong, 300) == {:error, :unavailable}
    assert :convex_sidecar.status(wrong) == {:error, :unavailable}
    assert_receive {:log, :warning, %{event: "node.unreachable", instance: ^wrong}, _}, 15_000
    # A cookie that changes: the fun is asked again for every attempt.
    :atomics.put(known, 1, 1)
    assert :convex_sidecar.await(wrong, 5000) == :ok
    :peer.stop(peer)
  end
end
