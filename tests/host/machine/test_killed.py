"""kill -9 while nothing is under way: guests and watchers notice nothing."""

from __future__ import annotations

from tests.host.machine.test_crashes import daemon, ensure, no_leftovers, qemu_pid
from tests.host.running import Console, Hyperd, ImageServer, disk, resource

__all__ = ["daemon"]


def test_a_guest_never_notices_that_its_daemon_was_killed(daemon: Hyperd, images: ImageServer) -> None:
    daemon.start()
    ensure(daemon, images)
    vm = daemon.wait_phase("vm", "vm", "Running")
    daemon.wait_console(vm, "login:")
    # The guest asks for its address beside the login prompt, and the daemon is what answers.
    daemon.wait_console(vm, f"IP={vm['status']['ipAddress']}")
    before = qemu_pid(daemon, vm)
    daemon.kill()
    assert daemon.node.exec(["ping", "-c", "1", "-W", "5", vm["status"]["ipAddress"]]).returncode == 0
    daemon.start()
    assert qemu_pid(daemon, vm) == before
    with Console(daemon, "vm") as console:
        console.log_in()
        assert "Linux" in console.run("uname")
    assert daemon.get("vm", "vm")["status"]["phase"] == "Running"
    no_leftovers(daemon)


def test_a_killed_daemon_resumes_a_watch_where_it_was(daemon: Hyperd, images: ImageServer) -> None:
    daemon.start()
    daemon.create(disk("one", size="1Mi"))
    seen = daemon.wait_phase("vd", "one", "Ready")["metadata"]["resourceVersion"]
    daemon.kill()
    daemon.start()
    daemon.create(disk("two", size="1Mi"))
    events = daemon.client.watch(resource("vd"), "default", resource_version=seen, timeout=10)
    assert next(events)["object"]["metadata"]["name"] == "two"
