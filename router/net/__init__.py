"""Sockets: associations over asyncio transports, as acceptor and as requestor."""
