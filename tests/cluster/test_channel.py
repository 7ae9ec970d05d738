"""What goes between workers and their driver, without Ray."""

import asyncio

from vae.cluster.channel import Channel


def test_training_is_saved_at_once_when_asked() -> None:
    """Rank 0 hears of it with its next report, until it has saved; then whoever asked goes on."""

    async def ask() -> None:
        channel = Channel()
        await channel.ask_to_save()  # nothing is there to be saved
        await channel.tell({"warning": "slow"})
        await channel.ask_to_save()
        assert not await channel.report({"saved": False})

        asking = asyncio.create_task(channel.ask_to_save())
        await asyncio.sleep(0)
        assert await channel.report({"saved": False})
        await asyncio.sleep(0)
        assert not asking.done()
        assert not await channel.report({"saved": True})
        await asking

        told = [{"saved": saved} for saved in (False, False, True)]
        assert await channel.take() == [{"warning": "slow"}, *told]
        assert await channel.take() == []

    asyncio.run(ask())
