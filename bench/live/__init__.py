"""What the benchmarks of writing share: contacts with five fields, the updates sent to them, the processes of
server and clients, and what is measured around them."""
